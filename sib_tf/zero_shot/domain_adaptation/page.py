"""The text of `report.md`."""

_METHODS = """- `source_only`: trained on the sources' labels alone, theta is lambda.
- `rot`: also on the rotation loss, sources and target; theta is lambda.
- `k0`: theta^0, lambda after one step by the minibatch's own rotation loss.
- `sib_rot`: theta^K, K synthetic-gradient steps from there."""


def text(metrics: dict) -> str:
    """Returns the page of an experiment's metrics."""
    config, targets = metrics["config"], metrics["targets"]
    heads = " | ".join(f"target {target}" for target in targets)
    lines = [f"| | {heads} | average | +- over runs |", "|---" * (len(targets) + 3) + "|"]
    lines += [_row(row, targets) for row in metrics["rows"]]
    return f"""# Zero-shot classification: {metrics["dataset"]}

Each domain in turn is the target: its pictures are seen, none of its labels. A task is a minibatch of \
{config["minibatch"]} pictures of one domain.

{_METHODS}

Accuracy on the target's pictures and paired differences on the same minibatches, in %, K = {config["num_steps"]}, \
seeds {", ".join(map(str, metrics["seeds"]))}:

{chr(10).join(lines)}

Intervals are 95 %, over the target's minibatches (means over the seeds); the last column, over (target, seed), by
Student's t, counts training again too. The step of every run was chosen on held-out pictures of the sources.

![Accuracy by target, and paired differences](accuracy.png)

![One picture of every class in every domain](domains.png)

## Runs

| target | method | seed | accuracy | source validation | step | seconds |{_oracle_head(metrics)}
|---|---|---|---|---|---|---|{"---|" if metrics["oracle"] else ""}
{chr(10).join(_run(run, metrics["oracle"]) for run in metrics["runs"])}

{_settings(metrics)}
"""


def _settings(metrics: dict) -> str:
    config = metrics["config"]
    rates = ("inner_learning_rate", "rotation_learning_rate", "rotation_weight")
    eta, eta_rot, weight = (f"{config[name]:g}" for name in rates)
    return (
        f"Backbone {config['backbone']}, weights {metrics['weights']}; {config['steps']} outer steps; "
        f"xi {config['gradient_network']}; eta = {eta}, eta_rot = {eta_rot}, weight of the rotation loss {weight}."
    )


def _row(row: dict, targets) -> str:
    sign = "+" if row["paired"] else ""
    cells = [_percent(row["targets"][target]["mean"], row["targets"][target]["ci95"], sign) for target in targets]
    average = row["average"]
    cells.append(_percent(average["mean"], average["ci95_minibatches"], sign))
    runs = average["ci95_runs"]
    cells.append("-" if runs is None or not row["paired"] else f"{100 * runs:.2f}")
    return f"| {row['name']} | {' | '.join(cells)} |"


def _percent(mean: float, half: float, sign: str = "") -> str:
    return f"{100 * mean:{sign}.2f} +-{100 * half:.2f}"


def _oracle_head(metrics: dict) -> str:
    return " oracle: best step by target accuracy |" if metrics["oracle"] else ""


def _run(run: dict, oracle: bool) -> str:
    cells = [run["target"], f"`{run['method']}`", str(run["seed"]), f"{100 * run['accuracy']:.2f}"]
    cells += [f"{100 * run['validation_accuracy']:.2f}", str(run["step"]), f"{run['seconds']:.0f}"]
    if oracle:
        cells.append(f"{100 * run['oracle']:.2f}")
    return f"| {' | '.join(cells)} |"
