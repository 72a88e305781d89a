"""After the push: compares the requests that a model gets with its training data, and two models on them.

| module     | content                                                                         |
|------------|---------------------------------------------------------------------------------|
| `logs`     | the texts of a log of requests, of any kind                                     |
| `drift`    | `drift`: the data gate's checks, on the texts of a log                          |
| `mojibake` | recognises texts that were read in a wrong codec                                |
| `shadow`   | `shadow`: two models on the same texts                                          |
| `view`     | both on the terminal                                                            |
| `page`     | both as a page; its templates are `drift.html.j2` and `shadow.html.j2`          |
"""
