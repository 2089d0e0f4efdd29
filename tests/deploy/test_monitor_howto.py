"""The commands and files on the page about monitoring, run as printed."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import yaml

from harness.prometheus import SHIPPED

PAGE = (Path(__file__).parents[2] / "docs/howto/monitor.md").read_text()


def test_backup_is_recorded_for_the_node_exporter_as_printed(tmp_path: Path) -> None:
    (block,) = (
        block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "backup.prom" in block
    )
    subprocess.run(["bash", "-euc", block], cwd=tmp_path, check=True)
    name, value = (tmp_path / "backup.prom").read_text().split()
    assert name in (SHIPPED / "rules/alerts.yml").read_text()
    assert abs(time.time() - float(value)) < 600
    assert [path.name for path in tmp_path.iterdir()] == ["backup.prom"]


def test_printed_addresses_of_exporters_are_those_that_prometheus_reads() -> None:
    jobs = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())["scrape_configs"]
    read = {
        file
        for job in jobs
        for discovered in job.get("file_sd_configs", ())
        for file in discovered["files"]
    }
    assert read == set(re.findall(r"`(targets/[\w-]+\.yml)`", PAGE))
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    ((address,),) = (group["targets"] for group in yaml.safe_load(block))
    assert address.endswith("/healthz/ready")


def test_runbook_links_of_the_alerts_are_replaced_as_printed(tmp_path: Path) -> None:
    (block,) = (
        block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "sed -i" in block
    )
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/alerts.yml").write_text((SHIPPED / "rules/alerts.yml").read_text())
    subprocess.run(["bash", "-euc", block], cwd=tmp_path, check=True)
    assert "saldo.example" not in (tmp_path / "rules/alerts.yml").read_text()
