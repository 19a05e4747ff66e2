"""The tiny run of train_grpo.py with goldpeak's callback in it: ``python stop_grpo.py FOLDER POST.nc``.

Needs goldpeak beside the dependency group ``trl`` (so Python 3.12 or newer). Prints, as JSON, what came of it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

SE = 0.15
"""Of the mean gold of eight short completions, about."""


def main(folder: Path, posterior: Path) -> None:
    from train_grpo import make_trainer

    import goldpeak
    from goldpeak.stopping.callbacks import TRLCallback

    stopper = goldpeak.Stopper(goldpeak.load(posterior), rm_params=3e6, state=folder / "stopper.json")
    callback = TRLCallback(stopper, gold="rewards/gold/mean", gold_se=SE)
    trainer = make_trainer(folder)
    callback.attach(trainer)
    trainer.train()
    trainer.state.save_to_json(str(folder / "trainer_state.json"))
    decision = callback.decision
    print(
        json.dumps(
            {
                "stopped_at": callback.stopped_at,
                "last_step": trainer.state.global_step,
                "reason": decision.reason,
                "best_kl": decision.best_kl,
                "kl_peak": decision.kl_peak,
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
