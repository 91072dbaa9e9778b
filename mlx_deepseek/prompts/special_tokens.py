"""DeepSeek's control tokens, spelled once. Bars are U+FF5C, blanks U+2581."""

BOS = "<｜begin▁of▁sentence｜>"
EOS = "<｜end▁of▁sentence｜>"
USER = "<｜User｜>"
ASSISTANT = "<｜Assistant｜>"
SYSTEM = "<｜System｜>"  # V4.1's; before it, system prompts follow BOS
REMINDER = "<｜latest_reminder｜>"  # V4's: date and place, between system prompt and user
THINK_OPEN, THINK_CLOSE = "<think>", "</think>"

CALLS_OPEN, CALLS_CLOSE = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL_OPEN, CALL_CLOSE = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"
OUTPUTS_OPEN, OUTPUTS_CLOSE = "<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>"
OUTPUT_OPEN, OUTPUT_CLOSE = "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"
TOOL_SEPARATOR = "<｜tool▁sep｜>"

# DeepSeek-V3.2's tags for calls: <｜DSML｜invoke ...> and </｜DSML｜invoke>.
DSML = "｜DSML｜"

FIM_BEGIN, FIM_HOLE, FIM_END = "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"
EOT = "<|EOT|>"  # Coder V1's end of turn, with ASCII bars
