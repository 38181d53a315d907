"""The embedded endpoint: a server that speaks the OpenAI API and simulates a model, for demos and tests."""

from headrace.testing.server.app import create_app
from headrace.testing.server.behaviour import Behaviour
from headrace.testing.server.certificates import Certificate, self_made
from headrace.testing.server.process import endpoint_process
from headrace.testing.server.server import serve
from headrace.testing.server.simulated_model import Simulation

__all__ = ["Behaviour", "Certificate", "Simulation", "create_app", "endpoint_process", "self_made", "serve"]
