"""What a request is made of besides the row: prompts, conversations, examples, values from columns."""

from headrace.bulk.prompts.prompt import Prompt, PromptLike, TemplateLanguage, make_prompt

__all__ = ["Prompt", "PromptLike", "TemplateLanguage", "make_prompt"]
