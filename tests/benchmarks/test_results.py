"""Results of benchmarks as a section of a document."""

from benchmarks import results


def test_a_section_has_the_rows_of_all_files_that_exist(tmp_path):
    document = tmp_path / "benchmarks.md"
    document.write_text("before\n<!-- begin gpu -->\nold\n<!-- end gpu -->\nafter\n")
    own, others = tmp_path / "own.json", [tmp_path / "trainer.json", tmp_path / "missing.json"]
    results.save([results.row("G1", "n=1", 1.0, 2.0, 0.5, "ms", at_most=0.75)], {"gpu": "one"}, own)
    results.save([results.row("G4", "n=2", 3.0, 2.0, 1.5, "ms", at_most=1.3)], {"gpu": "another"}, others[0])
    results.write_section(document, "gpu", own, others=others)
    text = document.read_text()
    assert "| G1 | n=1 | 1 | 2 | 0.5 | <= 0.75 | yes | ms |" in text
    assert "| G4 | n=2 | 3 | 2 | 1.5 | <= 1.3 | no | ms |" in text
    assert "- gpu: one" in text
    assert "another" not in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
