"""What decides an experiment: the settings of all stages in one frozen record, made
from a preset and what is changed of it."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pudm_lib.data import DataSettings
from pudm_lib.networks import UNETS
from pudm_lib.presets import preset_fields
from pudm_lib.sampling import SamplingSettings, make_scheduler
from pudm_lib.training_settings import TrainingSettings


@dataclass(frozen=True)
class Experiment:
    """All that decides a result. Make one with `experiment`."""

    data: DataSettings = field(default_factory=DataSettings)
    network: str = "small"
    training: TrainingSettings = field(default_factory=TrainingSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    seed: int = 0

    def __post_init__(self):
        if self.network not in UNETS:
            raise ValueError(
                f"network={self.network!r}, must be one of {', '.join(UNETS)}"
            )
        # Refused here and not after the training.
        make_scheduler(self.sampling, self.training.num_train_timesteps)
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed={self.seed}, must be in 0 .. 2**31 - 1")

    def flat(self) -> dict[str, Any]:
        """All settings by name, as `experiment` takes them."""
        parts = (self.data, self.training, self.sampling)
        rest = {"network": self.network, "seed": self.seed}
        return {k: v for part in parts for k, v in asdict(part).items()} | rest


def setting_fields() -> dict[str, Any]:
    """Every setting's dataclass field by name: the command line and `experiment` are
    made from it."""
    parts = (DataSettings, TrainingSettings, SamplingSettings)
    named = {f.name: f for part in parts for f in fields(part)}
    return named | {f.name: f for f in fields(Experiment) if f.type in (str, int)}


def experiment(preset: str = "laptop", **settings) -> Experiment:
    """A preset's experiment with some settings changed.

    Args:
        preset: ci, laptop, gpu or paper.
        settings: by name, see `setting_fields`; dataset and normal also choose the
            preset's sizes and budget for them.

    Raises:
        ValueError: unknown preset, name, or a value out of its range or of the wrong
            type.
    """
    known = setting_fields()
    for name, value in settings.items():
        if name not in known:
            raise ValueError(
                f"unknown setting {name!r}; there are: {', '.join(sorted(known))}"
            )
        wanted = known[name].type
        right = isinstance(value, wanted) or (wanted is float and type(value) is int)
        if not right or isinstance(value, bool):
            raise ValueError(f"{name}={value!r}, must be of type {wanted.__name__}")
    dataset = settings.get("dataset", DataSettings.dataset)
    normal = settings.get("normal", DataSettings.normal)
    values = preset_fields(preset, dataset, normal) | settings
    parts = {
        name: cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})
        for name, cls in (
            ("data", DataSettings),
            ("training", TrainingSettings),
            ("sampling", SamplingSettings),
        )
    }
    rest = {name: values[name] for name in ("network", "seed") if name in values}
    return Experiment(**parts, **rest)
