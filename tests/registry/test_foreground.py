"""What a person sees while a shell command works on a job."""

from rich.console import Console

from registry.foreground import _bar


def test_the_progress_bar_is_one_line_with_all_its_figures_on_a_narrow_terminal() -> None:
    bar = _bar()
    bar.add_task("mirror hf://" + 100 * "x", total=9_000_000, completed=4_000_000, phase="asking upstream")
    console = Console(width=80)
    lines = console.render_lines(bar.get_renderable(), console.options.update(width=80))
    text = "".join(segment.text for segment in lines[0])
    assert len(lines) == 1
    assert all(figure in text for figure in ("mirror hf://", " 44% ", "4.0/9.0 MB", "asking upstream")), text
