"""Prompts for the end-to-end tests: open chat, and tasks whose answers repeat the prompt."""

_PASSAGE = (
    "The lighthouse at Gull Point was built in 1871 after three ships were lost in one winter. "
    "Its lamp burned whale oil for eleven years, then kerosene, and since 1936 electricity. "
    "The last keeper, Marta Lind, left in 1968, when the light was automated."
)
_CODE = (
    "def area(width, height):\n    return width * height\n\n"
    "def volume(width, height, depth):\n    return width * height * depth\n"
)

PROMPTS = (
    "Why is the sky blue?",
    "Write a short story about a robot who learns to paint.",
    f"Repeat this text word for word:\n\n{_PASSAGE}",
    f"Quote the sentence that says when the lighthouse was built:\n\n{_PASSAGE}",
    f"Rename `depth` to `length` in this code and print all of it:\n\n{_CODE}",
    "List ten animals and their sounds.",
    "What is 17 times 23? Show each step.",
    "Explain photosynthesis to a child.",
    "Translate into French: Where is the train station?",
    "Count from one to thirty in words.",
    "Write a haiku about autumn, then explain it.",
    "Give me a recipe for pancakes.",
    f"Correct the spelling:\n\n{_PASSAGE.replace('burned', 'bruned').replace('winter', 'wintre')}",
    f"Add docstrings to this code:\n\n{_CODE}",
    "What were the causes of the First World War?",
    "Write a polite email that asks for a day off.",
    "Say the word 'banana' twenty times.",
    "What is the difference between a list and a tuple in Python?",
    "Describe an emoji party: use many emojis 🎉🎈.",
    "Make a table of the planets with their diameters.",
)
