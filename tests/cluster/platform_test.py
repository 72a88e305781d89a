"""Shared memory that passes the configuration's check fits into the pod's memory, in both places that define pods."""

from kubernetes.utils.quantity import parse_quantity

from cluster import platform
from core.kubeflow_config import Pod, Volume
from launchers.cluster_job import ClusterJobConfig, tfjob
from launchers.cluster_job.pod import User

GB = 10**9  # The backend reads `memoryLimit: 17` as 17G.
POD = Pod(image="reviews", memory_gb=17, shm_gb=16)


def test_shared_memory_of_a_component_is_smaller_than_its_memory():
    document = platform.make({"trainer_executor": POD}, {})
    (mount,) = document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["trainer_executor"]["emptyDirMounts"]
    assert parse_quantity(mount["sizeLimit"]) == 16 * GB < POD.memory_gb * GB


def test_shared_memory_of_a_worker_is_smaller_than_its_memory():
    volumes = [Volume(claim="reviews", path="/mnt")]
    config = ClusterJobConfig(pod=POD, volumes=volumes, image_dir="/app", shared_dir="/mnt/work")
    (job,) = tfjob.KIND.manifests(config, "reviews-1", 2, "/mnt/work/job.json", User(1000, 100), None)
    spec = job["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]
    (size,) = (parse_quantity(v["emptyDir"]["sizeLimit"]) for v in spec["volumes"] if "emptyDir" in v)
    assert size == 16 * GB
    assert parse_quantity(spec["containers"][0]["resources"]["limits"]["memory"]) == 17 * GB
