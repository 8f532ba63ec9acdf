"""The run queue, in which every run but delivery counts as work. Not here: how many may run at once (dagster.yaml).

What somebody materialises or backfills in the UI runs in a job of Dagster's own that carries no tag of ours. Without one
it is under no limit, and with a sweep beside it takes the place that alerts are to find free.
"""

import dagster as dg

# Jobs carry it themselves as well (jobs.py): a run that a command makes in its own process never comes through the queue.
WORK = {"upstream/work": "yes"}
# By name: the queue is loaded by each of Dagster's processes, the jobs with all they import only where they run.
DELIVERY_JOB = "deliver_alerts"


class RunQueue(dg.QueuedRunCoordinator):
    """Dagster's queue; dagster.yaml names it."""

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        """Tag the run as work, whoever asked for it, and put it into the queue."""
        run = context.dagster_run
        if run.job_name != DELIVERY_JOB:
            self._instance.add_run_tags(run.run_id, WORK)
        return super().submit_run(context)
