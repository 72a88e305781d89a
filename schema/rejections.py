"""The reasons for rejecting a row of a file: identifiers that artifacts, reports and tests rely on.

| reason               | the row ...                                                                       |
|----------------------|-----------------------------------------------------------------------------------|
| `line_too_long`      | has more than `data.max_line_bytes` bytes, or more characters than `csv` reads    |
| `blank_line`         | is empty                                                                          |
| `control_character`  | has a NUL, or (`minimal`) a carriage return outside quotes                        |
| `undecodable`        | is not text in `data.encoding`                                                    |
| `bad_quoting`        | (`minimal`) has an unclosed quote, or text after a closing one                    |
| `bad_json`           | (JSON Lines) is not a JSON object                                                 |
| `wrong_column_count` | has more or fewer columns than the header                                         |
| `empty_text`         | has a text that is empty or only whitespace                                       |
| `bad_label`          | has a label that is not in `data.labels`                                          |
"""

LINE_TOO_LONG = "line_too_long"
BLANK_LINE = "blank_line"
CONTROL_CHARACTER = "control_character"
UNDECODABLE = "undecodable"
BAD_QUOTING = "bad_quoting"
BAD_JSON = "bad_json"
WRONG_COLUMN_COUNT = "wrong_column_count"
EMPTY_TEXT = "empty_text"
BAD_LABEL = "bad_label"

# The setting to check first when a reason is frequent.
SETTINGS = {
    LINE_TOO_LONG: "data.max_line_bytes",
    UNDECODABLE: "data.encoding",
    BAD_QUOTING: "data.quoting",
    BAD_JSON: "data.format",
    WRONG_COLUMN_COUNT: "data.delimiter, data.quoting and data.header",
    EMPTY_TEXT: "data.text",
    BAD_LABEL: "data.labels and data.label",
}
