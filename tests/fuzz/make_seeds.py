#!/usr/bin/env python3
"""Real samples for the fuzz targets, from servers of every major: tests/fuzz/corpus/*/seed-*.

    PG_REJOIN_CACHE=... /usr/bin/python3 tests/fuzz/make_seeds.py

Names and formats of what other targets read are written here by hand. Run again after a new major or target.
"""

import os
import shutil
import struct
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness import environment as envm  # noqa: E402
from harness.cluster import Cluster, create_data, hot_copy  # noqa: E402

CORPUS = Path(__file__).resolve().parent / "corpus"
PAGE = 8192
SEGMENT_MB = 1

# Every resource manager that the program looks into, and most others.
WORK = """
CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) SELECT repeat('v', 50) FROM generate_series(1, 200);
CHECKPOINT;
UPDATE t SET v = 'w' WHERE id % 7 = 0; DELETE FROM t WHERE id % 5 = 0;
CREATE INDEX ON t USING hash (v); CREATE INDEX ON t USING brin (id);
BEGIN; SAVEPOINT a; INSERT INTO t (v) VALUES ('a'); RELEASE a; SAVEPOINT b; INSERT INTO t (v) VALUES ('b'); COMMIT;
BEGIN; SAVEPOINT a; INSERT INTO t (v) VALUES ('a'); ROLLBACK;
BEGIN; INSERT INTO t (v) VALUES ('p'); PREPARE TRANSACTION 'p1'; COMMIT PREPARED 'p1';
BEGIN; INSERT INTO t (v) VALUES ('p'); PREPARE TRANSACTION 'p2'; ROLLBACK PREPARED 'p2';
CREATE TABLE u (k int); INSERT INTO u VALUES (1); TRUNCATE u; DROP TABLE u;
CREATE DATABASE d; DROP DATABASE d;
SELECT pg_logical_emit_message(false, 'p', repeat('x', 9000));
VACUUM t;
"""


def put(target: str, name: str, data: bytes) -> None:
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"seed-{name}").write_bytes(data)


def statements(text: str):
    return [s for s in (part.strip() for part in text.replace("\n", " ").split(";")) if s]


def work(node: Cluster) -> None:
    with node.session() as cursor:
        for statement in statements(WORK):
            cursor.execute(statement)


def records_of(pages: bytes):
    """(resource manager, info, bytes) of the records that lie within one page."""
    for start in range(0, len(pages), PAGE):
        page = pages[start:start + PAGE]
        header = 40 if struct.unpack_from("<H", page, 2)[0] & 2 else 24
        at = header + (struct.unpack_from("<I", page, 16)[0] + 7 & ~7)
        while at + 24 <= PAGE:
            length = struct.unpack_from("<I", page, at)[0]
            if length < 24 or at + length > PAGE:
                break
            yield page[at + 17], page[at + 16], page[at:at + length]
            at += length + 7 & ~7


def seeds_of(major: int, directory: Path) -> None:
    index = major - 14
    node = Cluster(directory, major, f"n{major}")
    create_data(node.data, major, checksums=True, segment_mb=SEGMENT_MB)
    node.append_conf("wal_level = logical\nautovacuum = off\nwal_compression = on\nwal_keep_size = '64MB'")
    node.start()
    node.sql("SELECT pg_switch_wal()")
    first = node.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
    work(node)
    node.sql("CHECKPOINT")
    hot_copy(node, directory / "copy")
    put("backup_label", str(major), b"\0" + (directory / "copy/backup_label").read_bytes())
    shutil.rmtree(directory / "copy")
    put("control_file", f"{major}-running", b"\3" + (node.data / "global/pg_control").read_bytes()[:304])
    node.stop("fast")
    put("control_file", f"{major}-stopped", b"\3" + (node.data / "global/pg_control").read_bytes()[:304])
    segments = sorted(p for p in (node.data / "pg_wal").iterdir() if len(p.name) == 24 and p.name >= first)
    pages = b"".join(p.read_bytes() for p in segments)
    for repair in (0, 1):
        put("wal_reader", f"{major}-{repair}", bytes([index, repair]) + pages[:3 * PAGE])
    put("wal_reader", f"{major}-short", bytes([index, 1]) + pages[:2000])
    kept = {}
    for rmgr, info, record in records_of(pages):
        kept.setdefault((rmgr, info), record)
    for (rmgr, info), record in kept.items():
        if len(record) < 4096:
            put("wal_record", f"{major}-{rmgr}-{info:02x}", bytes([index]) + record)
    if major in (14, 18):
        histories_of(node)


def histories_of(node: Cluster) -> None:
    """After two promotions."""
    for _ in range(2):
        (node.data / "standby.signal").touch()
        envm.give(node.data / "standby.signal")
        node.start()
        node.promote()
        node.stop("fast")
    for path in (node.data / "pg_wal").glob("*.history"):
        own = int(path.name[:8], 16)
        put("timeline_history", f"{node.major}-{own}", struct.pack("<H", own - 1) + path.read_bytes())


def written_by_hand() -> None:
    for n, text in enumerate(("1@0/0", "1@0/0,2@0/3000148", "1@0/0,2@0/3000148,5@1/0", "1@0/0,2@0/3000148 1@0/0,3@0/3000100")):
        put("timeline_history", f"text-{n}", b"\1\0" + text.encode())
    for n, text in enumerate(("000000010000000000000001", "0000000A00000001000000FF", "0/3000148", "FFFFFFFF/FFFFFFFF")):
        put("wal_segment_name", str(n), b"\4" + struct.pack("<IQ", n, n << 40) + text.encode())
    for path in ("global/pg_control", "base/5/16384", "base/5/16384.1", "base/5/16384_fsm", "base/5/16384_vm.2", "base/5/16384_init",
                 "base/5/t3_16384", "base/pgsql_tmp/pgsql_tmp1.0", "pg_tblspc/16400/PG_15_202209061/5/16384", "global/1262",
                 "pg_xact/0000", "pg_wal/000000010000000000000001", "pg_rejoin/journal", "pg_wal/pg_rejoin/x", "postgresql.conf",
                 "log/x.log", "../x", "/etc/passwd", "a/../../b", "pg_replslot/s/state", "PG_VERSION", "base/5/pg_internal.init"):
        put("path_rules", path.replace("/", "_").replace("..", "up"), path.encode())
    put("block_ref_table", "some", struct.pack("<H", 99) + b"".join(struct.pack("<BI", n % 3, n * 7) for n in range(40)))
    put("block_ref_table", "runs", struct.pack("<H", 65535) + b"".join(struct.pack("<BI", 0, n) for n in range(200)))
    put("authority_record", "whole", b"system-identifier=7300000000000000001\nepoch=2\nprimary=db-1\ntimeline=2\n"
        b"switch-lsn=0/3000148\nhistory=1@0/0,2@0/3000148\npaused=true\napproval-pod=db-0\n"
        b"approval-system-identifier=7300000000000000001\napproval-history=1@0/0\nother=x\n")
    put("authority_record", "claimed", b"epoch=1\nprimary=db-0\n")
    put("authority_record", "empty", b"\n")
    config = """apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: k, user: u, namespace: n}}]
clusters:
- {name: k, cluster: {server: "https://localhost:6443", certificate-authority-data: QUJD}}
users:
- name: u
  user: {USER}
"""
    for n, user in enumerate(("token: abc", "client-certificate-data: QUJD, client-key-data: QUJD", "tokenFile: t", "exec: {command: x}")):
        put("kubeconfig", str(n), config.replace("USER", user).encode())
    put("kubeconfig", "json", b'{"current-context":"c","contexts":[{"name":"c","context":{"cluster":"k","user":"u"}}],'
        b'"clusters":[{"name":"k","cluster":{"server":"http://localhost"}}],"users":[{"name":"u","user":{}}]}\n')
    pod = b'{"metadata":{"name":"db-0","uid":"u","labels":{"a":"b"},"annotations":{"c":"d"},"deletionTimestamp":"t"},"status":{"phase":"Running","podIP":"10.0.0.1"}}'
    put("kube_objects", "pod", b"\0\0" + pod)
    put("kube_objects", "pods", b"\0\1" + b'{"metadata":{"continue":""},"items":[' + pod + b"]}")
    put("kube_objects", "configmap", b'\0\2{"metadata":{"name":"m","resourceVersion":"17"},"data":{"primary":"db-0"}}')
    put("kube_objects", "slices", b'\0\3{"items":[{"endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":true},'
        b'"targetRef":{"kind":"Pod","name":"db-0"}}]}]}')
    for n in range(3, 8):
        put("kube_objects", f"status-{n}", bytes([n, 4 + n % 2]) + b'{"kind":"Status","message":"no \\u001b[31m","reason":"x"}')
    lines = (b'{"created":[1663,5,16400]}\n{"copied_database":[1663,7]}\n{"truncated":[1663,5,16384],"to":3}\n'
             b'{"database_copy":[7,1663,1,1663]}\n{"database_touched":7}\n{"blocks":[1663,5,16384],"segment":1,"runs":[[0,3],[9,1]]}\n'
             b'{"file":"base","type":"d"}\n{"file":{"hex":"ff"},"type":"f","size":3}\n{"file":"pg_wal","type":"l","link":"2f78"}\n'
             b'{"plan":"base/5/1","action":"copy","reason":"x","bytes":1}\n')
    put("journal", "whole", b"\3" + lines)
    put("journal", "no-foot", b"\1" + lines)
    put("journal", "raw", b"\0" + b'{"format":1}\n{"lines":1,"crc32c":0}\n')
    put("journal", "other-format", b"\2" + b'{"format":2}\n')
    for n, text in enumerate(("host=a password=@@ user=b", "postgresql://u:@@@h:1,g:2/d?sslpassword=@@", "password='@@\\' x' dbname=d",
                              "password=@@ password", "host='a", "service=@@ passfile=x", "postgres:///?password=%40@@")):
        put("conninfo", str(n), b"\0" + text.encode())
        put("conninfo", f"behind-{n}", b"\1" + text.encode())
    put("conninfo", "values", b"\2a'b\\c\nuser\nd=e f\n@@\nx\n-c a=b\n")
    auto = (b"# Do not edit\nwork_mem = '1MB'\nprimary_conninfo = 'host=old'\n  PRIMARY_CONNINFO='x'\nrecovery_target_time = 'y'\n"
            b"recovery_target = immediate\n#primary_conninfo = 'z'\nprimary_conninfo_x = 1\n")
    put("recovery_conf", "whole", b"host=new password='it\\'s'\n" + auto)
    put("recovery_conf", "keep", b"\n" + auto)
    put("recovery_conf", "no-newline", b"host=new\nprimary_conninfo = 'a'")
    put("foreign_text", "mixed", b"caf\xc3\xa9 \x1b[31m\0\n end")
    put("foreign_text", "hex", b"00ffAb")
    put("foreign_text", "time", b"2026-11-21T22:30:00Z")


def main() -> None:
    written_by_hand()
    directory = Path(tempfile.mkdtemp(prefix="pgrj-seeds-", dir=envm.work_directory_parent()))
    directory.chmod(0o755)
    envm.give(directory)
    try:
        for major in envm.MAJORS:
            seeds_of(major, directory)
    finally:
        shutil.rmtree(directory)
    print(f"{sum(1 for _ in CORPUS.rglob('seed-*'))} seeds", file=sys.stderr)


if __name__ == "__main__":
    os.umask(0o022)
    main()
