"""Write what is made of other files of the chart: schema, README and dashboard."""

from pathlib import Path

from tools.chart.dashboard import dashboard
from tools.chart.readme import readme
from tools.chart.schema import values_schema

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "saccade"


def main() -> None:
    texts = {
        CHART / "values.schema.json": values_schema(),
        CHART / "README.md": readme(CHART),
        CHART / "dashboards" / "saccade.json": dashboard(),
    }
    stale = [
        path
        for path, text in texts.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        path.write_text(texts[path], encoding="utf-8")
        print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
