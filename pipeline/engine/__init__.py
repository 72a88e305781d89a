"""Apache Beam's engines: what it takes to run the data components on Flink, Spark or Dataflow.

| module          | holds                                                                                     |
|-----------------|-------------------------------------------------------------------------------------------|
| `flags.py`      | the section `beam` -> Beam's flags                                                        |
| `session.py`    | checks the engine before the first job, shows its jobs, cancels them on an interrupt      |
| `checks.py`     | Java, the jar, credentials                                                                |
| `flink.py`      | Flink's REST API                                                                          |
| `job_server.py` | the Java process that hands jobs to Flink or Spark                                        |
| `probe.py`      | a small job that imports this package on a worker                                         |
| `package.py`    | this package as an archive, which workers get with each job                               |
| `boot.py`       | the program that a worker of Flink or Spark starts                                        |
"""
