"""Runs that embed texts: batches of rows in one request, and their vectors as tables."""

from headrace.bulk.embedding.prepared_embedding import (
    PreparedEmbedding,
    arguments_of_task,
    prepare_embedding,
)

__all__ = ["PreparedEmbedding", "arguments_of_task", "prepare_embedding"]
