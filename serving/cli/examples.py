"""What a user can copy and paste when the server is ready."""

import json

from saccade.serving.config.settings import Settings

# A red circle on white, 48 x 48.
_CIRCLE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAADAAAAAwAQMAAABtzGvEAAAABlBMVEX////cHh7/Hx2W"
    "AAAAaUlEQVR42p3PwQ3CMBSD4S8vSO2REboJYfOMwAgdIccKVQ0HhCI4IIEvln/7Yv7W1MDlILOmVEOiYOq9CTOzeK"
    "7DmZOwEAMW0kggq0jv8JtlCtfPrtJHWjmExj7gxibcuQmd+no0/v2mB9mQFkejAk+3AAAAAElFTkSuQmCC"
)


def curl_example(settings: Settings, url: str) -> str:
    """A request about a small picture, or a text one when no pictures are served."""
    content: list[dict[str, object]] = []
    question = "Say hello."
    if settings.serves_pictures:
        content.append({"type": "image_url", "image_url": {"url": _CIRCLE}})
        question = "What colour is the circle?"
    content.append({"type": "text", "text": question})
    body = {
        "model": settings.model.name,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 16,
        "temperature": 0,
        "saccade": {"explain": True},
    }
    key = " -H 'Authorization: Bearer YOUR_KEY'" if settings.api.asks_for_keys else ""
    return (
        f"  curl -s {url}/v1/chat/completions{key} -H 'Content-Type: application/json' \\\n"
        f"    -d '{json.dumps(body)}'"
    )
