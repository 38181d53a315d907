"""Jobs with steps: several calls for a row, one after another, each of which may use earlier answers."""

from headrace.bulk.steps.step import Step
from headrace.bulk.steps.step_calls import StepCalls
from headrace.bulk.steps.step_store import StepsInMemory, StepStore
from headrace.bulk.steps.step_task import StepTask
from headrace.bulk.steps.steps_journal import StepsJournal

__all__ = ["Step", "StepCalls", "StepStore", "StepTask", "StepsInMemory", "StepsJournal"]
