"""The embedded endpoint: a server that speaks the OpenAI API and simulates a model, for demos and tests."""

from headrace.testing.server.app import create_app
from headrace.testing.server.behaviour import Behaviour
from headrace.testing.server.certificates import Certificate, temporary_certificate
from headrace.testing.server.process import endpoint_process
from headrace.testing.server.server import serve
from headrace.testing.server.simulated_model import SimulatedModel

__all__ = [
    "Behaviour",
    "Certificate",
    "SimulatedModel",
    "create_app",
    "endpoint_process",
    "serve",
    "temporary_certificate",
]
