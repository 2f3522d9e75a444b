import { describe, expect, it } from 'vitest';
import { availableBytes, memoryLimits, outOfMemoryKills, type MemorySources } from './limits.js';

const GB = 1e9;

/** A machine with these files, on which this process has 1 GB. */
const machineWith = (files: Readonly<Record<string, string>>, platform: NodeJS.Platform = 'linux'): MemorySources => ({
  platform,
  read: (path) => files[path] ?? null,
  ownBytes: () => GB,
  machine: () => ({ totalBytes: 16 * GB, freeBytes: 5 * GB }),
});

// The layouts are those of proc(5) and of the kernel's documentation of cgroups.
const meminfo = 'MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    9000000 kB\n';
const limits = (soft: string): string =>
  'Limit                     Soft Limit           Hard Limit           Units     \n' +
  'Max data size             unlimited            unlimited            bytes     \n' +
  `Max address space         ${soft.padEnd(20)} unlimited            bytes     \n`;
const status = 'Name:\tnode\nVmPeak:\t 3000000 kB\nVmSize:\t 2000000 kB\nVmData:\t  700000 kB\n';
const mount2 = '29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n';
const mount1 =
  '30 23 0:26 / /sys/fs/cgroup/cpu rw shared:5 - cgroup cgroup rw,cpu\n' +
  '31 23 0:27 /docker/7f /sys/fs/cgroup/memory rw shared:6 - cgroup cgroup rw,memory\n';

const cgroup2 = {
  '/proc/self/mountinfo': `22 1 8:1 / / rw - ext4 /dev/sda1 rw\n${mount2}`,
  '/proc/self/cgroup': '0::/jobs/job 7/task\n',
  '/sys/fs/cgroup/jobs/job 7/task/memory.max': 'max\n',
  '/sys/fs/cgroup/jobs/job 7/task/memory.current': '900000000\n',
  '/sys/fs/cgroup/jobs/job 7/task/memory.events': 'low 0\noom 4\noom_kill 3\noom_group_kill 0\n',
  '/sys/fs/cgroup/jobs/job 7/memory.max': '4000000000\n',
  '/sys/fs/cgroup/jobs/job 7/memory.current': '3000000000\n',
  '/sys/fs/cgroup/jobs/job 7/memory.stat': 'anon 1\nfile 2\ninactive_file 500000000\nactive_file 200000000\n',
  '/sys/fs/cgroup/jobs/memory.max': '8000000000\n',
  '/sys/fs/cgroup/jobs/memory.current': '7900000000\n',
};

describe('memoryLimits', () => {
  it('are those of the machine, without what it can reclaim', () => {
    expect(memoryLimits(machineWith({ '/proc/meminfo': meminfo }))).toEqual([
      { origin: 'of this machine', limitBytes: 16_384_000_000, usedBytes: 7_168_000_000, ownBytes: GB },
    ]);
  });

  it('of cgroup 2 are read from all parents; `max` is none, and pages of files do not count', () => {
    const found = memoryLimits(machineWith({ '/proc/meminfo': meminfo, ...cgroup2 }));
    expect(found.map((limit) => [limit.origin, limit.limitBytes, availableBytes(limit)])).toEqual([
      ['of the cgroup /sys/fs/cgroup/jobs', 8 * GB, 0.1 * GB],
      // 4.0 − (3.0 − 0.5 − 0.2)
      ['of the cgroup /sys/fs/cgroup/jobs/job 7', 4 * GB, 1.7 * GB],
      ['of this machine', 16_384_000_000, 9_216_000_000],
    ]);
  });

  it('of cgroup 1 are read below the mounted cgroup of a container; the greatest number is none', () => {
    const found = memoryLimits(
      machineWith({
        '/proc/self/mountinfo': mount1,
        '/proc/self/cgroup': '5:cpu,cpuacct:/docker/7f\n4:memory:/docker/7f/inner\n0::/\n',
        '/sys/fs/cgroup/memory/inner/memory.limit_in_bytes': '9223372036854771712\n',
        '/sys/fs/cgroup/memory/inner/memory.usage_in_bytes': '100\n',
        '/sys/fs/cgroup/memory/memory.limit_in_bytes': '2000000000\n',
        '/sys/fs/cgroup/memory/memory.usage_in_bytes': '1500000000\n',
        '/sys/fs/cgroup/memory/memory.stat': 'inactive_file 7\ntotal_inactive_file 400000000\ntotal_active_file 0\n',
      }),
    );
    expect(found).toEqual([
      { origin: 'of the cgroup /sys/fs/cgroup/memory', limitBytes: 2 * GB, usedBytes: 1.1 * GB, ownBytes: GB },
    ]);
  });

  it('of cgroup 1 are read beside a cgroup 2 without memory, as systemd mounts both', () => {
    const found = memoryLimits(
      machineWith({
        '/proc/self/mountinfo':
          '32 23 0:28 / /sys/fs/cgroup/unified rw shared:7 - cgroup2 cgroup2 rw,nsdelegate\n' +
          '33 23 0:29 / /sys/fs/cgroup/systemd rw shared:8 - cgroup cgroup rw,xattr,name=systemd\n' +
          '34 23 0:30 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n',
        '/proc/self/cgroup': '9:memory:/user.slice\n1:name=systemd:/user.slice/session\n0::/user.slice/session\n',
        '/sys/fs/cgroup/memory/user.slice/memory.limit_in_bytes': '3000000000\n',
        '/sys/fs/cgroup/memory/user.slice/memory.usage_in_bytes': '1000000000\n',
        '/sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
        '/sys/fs/cgroup/memory/memory.usage_in_bytes': '5000000000\n',
      }),
    );
    expect(found).toEqual([
      { origin: 'of the cgroup /sys/fs/cgroup/memory/user.slice', limitBytes: 3 * GB, usedBytes: GB, ownBytes: GB },
    ]);
  });

  it('of a cgroup outside the mounted one are those of the mounted one', () => {
    const found = memoryLimits(
      machineWith({
        '/proc/self/mountinfo': mount1,
        '/proc/self/cgroup': '4:memory:/elsewhere\n',
        '/sys/fs/cgroup/memory/memory.limit_in_bytes': '2000000000\n',
        '/sys/fs/cgroup/memory/memory.usage_in_bytes': '1\n',
      }),
    );
    expect(found.map(({ origin }) => origin)).toEqual(['of the cgroup /sys/fs/cgroup/memory']);
  });

  it('of the address space count all that is mapped', () => {
    expect(
      memoryLimits(machineWith({ '/proc/self/limits': limits('8589934592'), '/proc/self/status': status })),
    ).toEqual([
      {
        origin: 'of this process (ulimit -v)',
        limitBytes: 8_589_934_592,
        usedBytes: 2_048_000_000,
        ownBytes: 2_048_000_000,
      },
    ]);
    expect(
      memoryLimits(machineWith({ '/proc/self/limits': limits('unlimited'), '/proc/self/status': status })),
    ).toEqual([]);
  });

  it('of other systems are the memory of the machine; free memory is known on Windows', () => {
    expect(memoryLimits(machineWith({}, 'win32'))).toMatchObject([{ limitBytes: 16 * GB, usedBytes: 11 * GB }]);
    expect(memoryLimits(machineWith({}, 'darwin'))).toMatchObject([{ limitBytes: 16 * GB, usedBytes: GB }]);
  });

  it('of this machine are read', () => {
    const [least] = memoryLimits();
    expect(least?.limitBytes).toBeGreaterThan(least?.usedBytes ?? Infinity);
    expect(least?.usedBytes).toBeGreaterThan(0);
  });
});

describe('outOfMemoryKills', () => {
  it('are counted for every cgroup and the machine', () => {
    expect(outOfMemoryKills(machineWith({ ...cgroup2, '/proc/vmstat': 'nr_free_pages 1\noom_kill 11\n' }))).toEqual([
      { where: 'the cgroup /sys/fs/cgroup/jobs/job 7/task', count: 3 },
      { where: 'this machine', count: 11 },
    ]);
    expect(
      outOfMemoryKills(
        machineWith({
          '/proc/self/mountinfo': mount1,
          '/proc/self/cgroup': '4:memory:/docker/7f\n',
          '/sys/fs/cgroup/memory/memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 2\n',
        }),
      ),
    ).toEqual([{ where: 'the cgroup /sys/fs/cgroup/memory', count: 2 }]);
  });
});
