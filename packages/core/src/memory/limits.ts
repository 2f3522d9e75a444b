import { readFileSync } from 'node:fs';
import { freemem, totalmem } from 'node:os';
import { posix } from 'node:path';
import { getHeapStatistics } from 'node:v8';

/** What limits are read from. Tests replace it. */
export interface MemorySources {
  readonly platform: NodeJS.Platform;
  /** Returns the text of a file; null if it cannot be read. */
  read(path: string): string | null;
  /** The resident memory of this process in bytes. */
  ownBytes(): number;
  /** The memory of the machine in bytes. Not asked on Linux. */
  machine(): { readonly totalBytes: number; readonly freeBytes: number };
}

const thisMachine: MemorySources = {
  platform: process.platform,
  read(path) {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return null;
    }
  },
  ownBytes: () => process.memoryUsage.rss(),
  machine: () => ({ totalBytes: totalmem(), freeBytes: freemem() }),
};

/** A limit of the memory that this process can use. */
export interface MemoryLimit {
  /** Where it comes from, as the end of a sentence: `of this machine`. */
  readonly origin: string;
  readonly limitBytes: number;
  /** What counts towards the limit now, without what the system can reclaim: pages of files. */
  readonly usedBytes: number;
  /** What the process of `ownBytes` uses of it. */
  readonly ownBytes: number;
}

/** Limits from this size on are none: cgroup v1 writes 2⁶³ less a page. */
const NO_LIMIT = 2 ** 60;

const wholeNumber = (text: string | null | undefined): number | null => {
  const value = text?.trim();
  return value !== undefined && /^\d+$/.test(value) ? Number(value) : null;
};

/** Returns a field of files with lines such as `VmSize: 1234 kB` or `inactive_file 4096`, in bytes. */
function field(text: string | null, name: string): number | null {
  const [, value, unit] = new RegExp(`^${name}:?\\s+(\\d+)( kB)?$`, 'm').exec(text ?? '') ?? [];
  return value === undefined ? null : Number(value) * (unit === undefined ? 1 : 1024);
}

export const availableBytes = ({ limitBytes, usedBytes }: MemoryLimit): number => Math.max(0, limitBytes - usedBytes);

/** Returns the share of a limit that is in use. */
export const usedShare = ({ limitBytes, usedBytes }: Pick<MemoryLimit, 'limitBytes' | 'usedBytes'>): number =>
  limitBytes > 0 ? usedBytes / limitBytes : 1;

/**
 * Returns the limits of the memory of this process, the one with the least available memory first: of the machine, of
 * every cgroup that contains the process (versions 1 and 2), and of its address space and data (`ulimit -v` and `-d`).
 */
export function memoryLimits(sources: MemorySources = thisMachine): readonly MemoryLimit[] {
  const own = sources.platform === 'linux' ? processLimits(sources) : [];
  return [...sharedLimits(sources), ...own].toSorted((one, other) => availableBytes(one) - availableBytes(other));
}

/** Returns the limits that this process shares with those that it starts: of the machine and of its cgroups. */
export const sharedLimits = (sources: MemorySources = thisMachine): readonly MemoryLimit[] =>
  sources.platform === 'linux' ? [...linuxMachine(sources), ...cgroupLimits(sources)] : [otherMachine(sources)];

/** Returns the limit of the JavaScript heap. Node.js ends a process that exceeds it. */
export function heapLimit(): MemoryLimit {
  const { heap_size_limit: limitBytes, used_heap_size: usedBytes } = getHeapStatistics();
  return { origin: 'of the JavaScript heap (node --max-old-space-size)', limitBytes, usedBytes, ownBytes: usedBytes };
}

function linuxMachine({ read, ownBytes }: MemorySources): readonly MemoryLimit[] {
  const text = read('/proc/meminfo');
  const [total, available] = [field(text, 'MemTotal'), field(text, 'MemAvailable')];
  if (total === null || available === null) return [];
  return [{ origin: 'of this machine', limitBytes: total, usedBytes: total - available, ownBytes: ownBytes() }];
}

/** macOS reports as free only what nothing has ever used, so there only the own memory counts as used. */
function otherMachine({ platform, machine, ownBytes }: MemorySources): MemoryLimit {
  const { totalBytes, freeBytes } = machine();
  const own = ownBytes();
  const usedBytes = platform === 'win32' ? totalBytes - freeBytes : own;
  return { origin: 'of this machine', limitBytes: totalBytes, usedBytes, ownBytes: own };
}

/** The limits of a process: their name in `/proc/self/limits`, what counts towards them, and the option of `ulimit`. */
const processResources = [
  { name: 'Max address space', used: 'VmSize', option: '-v' },
  { name: 'Max data size', used: 'VmData', option: '-d' },
] as const;

function processLimits({ read }: MemorySources): readonly MemoryLimit[] {
  const [limits, status] = [read('/proc/self/limits'), read('/proc/self/status')];
  return processResources.flatMap(({ name, used, option }) => {
    const limitBytes = wholeNumber(new RegExp(`^${name}\\s+(\\d+)\\s`, 'm').exec(limits ?? '')?.[1]);
    const usedBytes = field(status, used);
    if (limitBytes === null || usedBytes === null || limitBytes >= NO_LIMIT) return [];
    return [{ origin: `of this process (ulimit ${option})`, limitBytes, usedBytes, ownBytes: usedBytes }];
  });
}

/** One cgroup of this process. */
interface Cgroup {
  /** Its folder. */
  readonly folder: string;
  readonly version: 1 | 2;
}

/** The files of a cgroup. Version 1 counts pages of files of all cgroups below it under names with `total_`. */
const cgroupFiles = {
  1: {
    limit: 'memory.limit_in_bytes',
    used: 'memory.usage_in_bytes',
    reclaimable: ['total_inactive_file', 'total_active_file'],
    kills: 'memory.oom_control',
  },
  2: {
    limit: 'memory.max',
    used: 'memory.current',
    reclaimable: ['inactive_file', 'active_file'],
    kills: 'memory.events',
  },
} as const;

/** Returns the cgroups of this process that count memory, from the innermost to the outermost of each version. */
function cgroupsOf({ read }: MemorySources): readonly Cgroup[] {
  // Lines of cgroups(7): `4:cpu,memory:/path` for version 1, `0::/path` for version 2.
  const lines = (read('/proc/self/cgroup') ?? '').split('\n').map((line) => /^\d+:([^:]*):(.*)$/.exec(line));
  const mounts = cgroupMounts(read('/proc/self/mountinfo') ?? '');
  return lines.flatMap((line) => {
    const [, controllers = '', path = ''] = line ?? [];
    const version =
      line === null ? null : controllers === '' ? 2 : controllers.split(',').includes('memory') ? 1 : null;
    const mount = mounts.find((each) => each.version === version);
    return version === null || mount === undefined ? [] : foldersUp(mount, path).map((folder) => ({ folder, version }));
  });
}

interface CgroupMount {
  readonly version: 1 | 2;
  /** The cgroup that is mounted. */
  readonly root: string;
  readonly folder: string;
}

/** Returns where cgroups that count memory are mounted, from lines of `/proc/self/mountinfo`; see proc(5). */
function cgroupMounts(mountinfo: string): readonly CgroupMount[] {
  return mountinfo.split('\n').flatMap((line): readonly CgroupMount[] => {
    const [, root, folder, type, options = ''] =
      /^\d+ \d+ \S+ (\S+) (\S+) .*? - (cgroup2?) \S+ (\S+)$/.exec(line) ?? [];
    if (root === undefined || folder === undefined) return [];
    if (type === 'cgroup' && !options.split(',').includes('memory')) return [];
    return [{ version: type === 'cgroup2' ? 2 : 1, root: unescaped(root), folder: unescaped(folder) }];
  });
}

/** Returns a path of mountinfo, in which spaces are written as `\040`. */
const unescaped = (path: string): string =>
  path.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCodePoint(Number.parseInt(digits, 8)));

/** Returns the folder of a cgroup and those of its parents up to the mount. */
function foldersUp({ root, folder }: CgroupMount, path: string): readonly string[] {
  const inner = posix.relative(root, path);
  // A path outside the mounted cgroup: the process was moved, or namespaces hide the rest.
  if (inner === '..' || inner.startsWith('../')) return [folder];
  const names = inner.split('/').filter(Boolean);
  return names.map((_, index) => posix.join(folder, ...names.slice(0, names.length - index))).concat(folder);
}

function cgroupLimits(sources: MemorySources): readonly MemoryLimit[] {
  const { read } = sources;
  return cgroupsOf(sources).flatMap(({ folder, version }) => {
    const files = cgroupFiles[version];
    const limitBytes = wholeNumber(read(posix.join(folder, files.limit)));
    const used = wholeNumber(read(posix.join(folder, files.used)));
    if (limitBytes === null || used === null || limitBytes >= NO_LIMIT) return [];
    const stat = read(posix.join(folder, 'memory.stat'));
    const reclaimable = files.reclaimable.reduce((sum, name) => sum + (field(stat, name) ?? 0), 0);
    const usedBytes = Math.max(0, used - reclaimable);
    return [{ origin: `of the cgroup ${folder}`, limitBytes, usedBytes, ownBytes: sources.ownBytes() }];
  });
}

/** How many processes the kernel has killed because memory was exhausted, so far. */
export interface OutOfMemoryKills {
  /** The cgroup, or `this machine`. */
  readonly where: string;
  readonly count: number;
}

/** Returns the kernel's counts of killed processes: of every cgroup of this process, from the innermost, and in all. */
export function outOfMemoryKills(sources: MemorySources = thisMachine): readonly OutOfMemoryKills[] {
  const { platform, read } = sources;
  if (platform !== 'linux') return [];
  const counts = cgroupsOf(sources).map(({ folder, version }) => ({
    where: `the cgroup ${folder}`,
    count: field(read(posix.join(folder, cgroupFiles[version].kills)), 'oom_kill'),
  }));
  return [...counts, { where: 'this machine', count: field(read('/proc/vmstat'), 'oom_kill') }].flatMap(
    ({ where, count }) => (count === null ? [] : [{ where, count }]),
  );
}

/** Returns the swap space of this machine in bytes: more than the memory fits, but slowly. 0 if it is unknown. */
export const swapBytes = ({ platform, read }: MemorySources = thisMachine): number =>
  platform === 'linux' ? (field(read('/proc/meminfo'), 'SwapTotal') ?? 0) : 0;

/** Returns what identifies this boot of the machine, on which the kernel's counts depend; null if it is unknown. */
export const bootOf = ({ read }: MemorySources = thisMachine): string | null =>
  read('/proc/sys/kernel/random/boot_id')?.trim() ?? null;

/** Returns the resident memory of another process of this machine in bytes; null if it is unknown. */
export const residentBytesOf = (pid: number, { read }: MemorySources = thisMachine): number | null =>
  field(read(`/proc/${pid}/status`), 'VmRSS');
