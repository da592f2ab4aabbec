"""``python -m emotion_ops`` is the command ``emotion-ops``."""

from emotion_ops.cli.main import run

if __name__ == "__main__":
    run()
