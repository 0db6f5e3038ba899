"""The options of a load: on Locust's command line, and on `tokenfleet loadtest run`.

Imports nothing that may be missing.
"""

from typing import Any

VARIANTS = ("cpu", "gpu")
KEY_VARIABLE = "OPENAI_API_KEY"

ADMIN_KEY_VARIABLE = "TOKENFLEET_API_KEY"
"""The key for `/fleet` and `/metrics`, where a cluster with tenants wants an admin's."""


def bearer(key: str | None) -> dict[str, str]:
    """The header that shows a key, if there is one."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def add_load_options(parser: Any, scenario: str, **scenario_options: Any) -> None:
    """Which load, for which model of the server; `scenario` is how the parser names it: an option
    or a positional argument."""
    parser.add_argument(scenario, help="name of a scenario, or a YAML file", **scenario_options)
    parser.add_argument(
        "--variant",
        choices=VARIANTS,
        default=VARIANTS[0],
        help=f"of the scenario: the machine it is sized for; default {VARIANTS[0]}",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="laid over the scenario, as arrivals.rate_per_s=4; may be repeated",
    )
    parser.add_argument("--model", help="which one is asked; default: the server's first")
    parser.add_argument("--tokenizer", metavar="PATH",
                        help="of the model: a folder, or its tokenizer.json")  # fmt: skip
    parser.add_argument("--out", metavar="DIR",
                        help="the run's folder; default runs/SCENARIO-VARIANT-TIME")  # fmt: skip


def add_key_option(parser: Any, **options: Any) -> None:
    parser.add_argument(
        "--api-key", help=f"of the server; better set ${KEY_VARIABLE}, which is not seen", **options
    )
