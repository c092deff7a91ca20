"""The volume holds the data of another cluster: refused, and not one byte of it is touched."""
import hashlib
import os

from release import eventually, node_gone

INITDB = 'initdb --pgdata "${PGDATA%/*}/other" --username postgres --data-checksums'


def test_other_system_identifier_is_refused(release):
    release.install()
    primary, standby = release.roles()
    release.make_table(primary, standby)
    release.kubectl("exec", standby, "-c", "postgres", "--", "sh", "-c", INITDB)
    pgdata = release.volume(standby) / "pgdata"
    with node_gone():
        release.delete_pod(standby)
        eventually("the old server has let go", lambda: not (pgdata / "postmaster.pid").exists())
        pgdata.rename(pgdata.with_name("real"))
        pgdata.with_name("other").rename(pgdata)
        before = fingerprint(pgdata)
        assert len(before) > 900, "this is no data directory"

    found = release.wait_outcome(standby, "refused", "OtherSystem")
    own = release.record()["system-identifier"]
    assert own in found["message"] and found["system-identifier"] != own, found
    assert found["system-identifier"] in found["message"], found
    message, status = release.termination(standby)
    assert status == 20 and message["outcome"] == "refused", (status, message)
    assert any(event["reason"] == "RejoinRefused" for event in release.events(standby)), release.events(standby)
    release.assert_not_started(standby)
    assert fingerprint(pgdata) == before, "a refused directory was changed"
    assert release.is_read_write(primary)


def fingerprint(root):
    """Kind, mode, size, time of change and content of everything below."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content = b""
            if name in files and not os.path.islink(path):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).digest()
            found[path] = (status.st_mode, status.st_size, status.st_mtime_ns, content)
    return found
