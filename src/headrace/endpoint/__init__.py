"""The embedded endpoint: a server that speaks the OpenAI API and simulates a model, for demos and tests."""

from headrace.endpoint.app import create_app
from headrace.endpoint.behaviour import Behaviour
from headrace.endpoint.certificates import Certificate, self_made
from headrace.endpoint.process import endpoint_process
from headrace.endpoint.server import serve
from headrace.endpoint.simulation import Simulation

__all__ = ["Behaviour", "Certificate", "Simulation", "create_app", "endpoint_process", "self_made", "serve"]
