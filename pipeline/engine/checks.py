"""What has to be on this machine before a job is submitted: Java, the job server's jar, credentials."""

import os
import re
import shutil
import subprocess
import zipfile
from typing import Mapping

from core.errors import UserError, first_line

# Beam's runners need 11; older ones do not know `--add-opens` either.
_OLDEST_JAVA = 11
_MANIFEST = "META-INF/MANIFEST.MF"
_HOW = "should be Beam's job server for this engine; `make flink` writes build/flink/job-server.jar"


def find_java(environment: Mapping[str, str] = os.environ) -> str:
    """Returns the path of `java`: that of JAVA_HOME, or else of PATH.

    Raises:
      UserError: there is none, or it is too old.
    """
    home = environment.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else shutil.which("java", path=environment.get("PATH"))
    where = f"JAVA_HOME = {home}" if home else "PATH"
    if java is None or not os.path.exists(java):
        raise UserError(
            f"{where}: no java there, which hands jobs to Flink and Spark; install Java {_OLDEST_JAVA} or newer (on "
            "Debian and Ubuntu: apt-get install default-jre-headless), or set beam.runner to direct"
        )
    done = subprocess.run([java, "-version"], capture_output=True, text=True)
    version = re.search(r'version "(\d+)', done.stderr)
    if version is None or int(version[1]) < _OLDEST_JAVA:
        found = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[0]
        raise UserError(f"{java}: {found}; should be Java {_OLDEST_JAVA} or newer")
    return java


def check_jar(jar: str) -> None:
    """Raises UserError unless a file is a Java program."""
    if not os.path.isfile(jar):
        raise UserError(f"beam.job_server_jar = {jar}: no such file; {_HOW}")
    try:
        with zipfile.ZipFile(jar) as archive:
            manifest = archive.read(_MANIFEST)
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise UserError(f"beam.job_server_jar = {jar}: not a jar ({first_line(error)}); {_HOW}") from error
    if b"Main-Class:" not in manifest:
        raise UserError(f"beam.job_server_jar = {jar}: has no main class; {_HOW}")


def download_jar(engine: str, version: str) -> str:
    """Lets Beam download the job server of an engine; returns its path.

    Args:
      engine: `flink` or `spark`.
      version: of the engine, such as 1.19; part of the jar's name.

    Raises:
      UserError: it can't be downloaded.
    """
    from apache_beam.utils import subprocess_server  # Slow.

    target = f":runners:{engine}:{version}:job-server:shadowJar"
    url = subprocess_server.JavaJarServer.path_to_beam_jar(target)
    try:
        return subprocess_server.JavaJarServer.local_jar(url)
    except Exception as error:  # Beam raises plain ones.
        raise UserError(
            f"beam.job_server_jar: not set, and {os.path.basename(url)} can't be downloaded: {first_line(error)}; set "
            f"the key: {_HOW}"
        ) from error


def check_google_credentials() -> None:
    """Raises UserError if Google Cloud's client library finds no credentials."""
    import google.auth  # Slow.

    try:
        google.auth.default()
    except google.auth.exceptions.GoogleAuthError as error:
        raise UserError(
            "beam.runner = dataflow: no credentials of Google Cloud; set GOOGLE_APPLICATION_CREDENTIALS to a key file, "
            "or run: gcloud auth application-default login"
        ) from error
