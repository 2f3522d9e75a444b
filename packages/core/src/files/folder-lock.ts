import { randomBytes } from 'node:crypto';
import { link, open, readdir, readFile, rm, stat, utimes } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { threadId } from 'node:worker_threads';
import { WhetstoneError } from '../contract/index.js';
import { isRecord, messageOf } from '../util/index.js';
import { writeError } from './errors.js';
import { exists } from './present.js';
import { isNear, isRunning, ownIdentity, type ProcessIdentity } from './process-identity.js';
import { move } from './rename.js';
import { removeStale, temporaryName } from './write.js';

/**
 * The lock of a folder: of a run's output, or of an installation. Its name starts with a dot, so that it is not part of
 * the contents of the run.
 */
const LOCK_FILE = '.run.lock';
const FORMAT = 'whetstone-lock';
/** The interval in which a run renews its lock. */
const HEARTBEAT_SECONDS = 30;
/** A lock of another machine or container counts as stale after this time without a heartbeat. */
const SILENCE_SECONDS = 300;

/**
 * The tokens of the locks that this thread holds, and its drafts. A lock of this thread that is not among them was left
 * by a run that could not remove it. Shared by all copies of this module.
 */
const registry = ((globalThis as unknown as Record<symbol, { tokens: Set<string>; drafts: Set<string> } | undefined>)[
  Symbol.for('whetstone.locks')
] ??= { tokens: new Set(), drafts: new Set() });

/** What a lock says of its holder. */
interface Holder extends ProcessIdentity {
  /** The thread of the process. */
  readonly thread: number;
  readonly since: string;
  /** The job of a scheduler, and how often the scheduler has restarted it; null without one. */
  readonly job: { readonly id: string; readonly restarts: number } | null;
  /** Differs for every lock. */
  readonly token: string;
}

/** A lock file. */
interface Lock {
  readonly file: string;
  /** Null if the file is not a lock of Whetstone. */
  readonly holder: Holder | null;
  readonly renewed: Date;
}

/** The lock of a folder: one run, or one installer, at a time writes to it. */
export interface FolderLock {
  /**
   * Takes the lock, if the folder exists and this lock is not held yet.
   *
   * @throws `OUTPUT_LOCKED` if another run or installer holds it
   * @throws the errors of `writeError`
   */
  take(): Promise<void>;
  /** Releases the lock, if it is held. */
  release(): Promise<void>;
  /** Returns the folder, if its lock is held; otherwise null. */
  heldFolder(): string | null;
  /** Returns the token of the lock, if it is held; otherwise null. */
  heldToken(): string | null;
}

/** A stale lock: its holder ended without releasing it. */
export interface LeftLock {
  /** The holder in words. */
  readonly holder: string;
  /** Null if the file is not a lock of Whetstone. */
  readonly token: string | null;
  readonly renewed: Date;
}

/** A lock for a run that writes nothing. */
export const noLock: FolderLock = {
  take: async () => undefined,
  release: async () => undefined,
  heldFolder: () => null,
  heldToken: () => null,
};

/** Reports that a stale lock was taken over, or that a lock could not be removed. */
type LockReport = (message: string, left?: LeftLock) => void;

/** The words with which an error describes what holds a lock. */
interface LockWords {
  readonly refusal: string;
  /** What to do while the process with this id holds it. */
  hintFor(pid: number): string;
}

const WORDS = {
  run: {
    refusal: 'Another run writes to the output folder.',
    hintFor: (pid) =>
      pid === process.pid
        ? 'Await the run of the other Trainer, or choose another output.folder.'
        : `Wait until it ends, end it (kill ${pid}), or choose another output.folder.`,
  },
  installation: {
    refusal: 'Another installation of the same files runs.',
    hintFor: (pid) =>
      pid === process.pid ? 'Await the other installation.' : `Wait until it ends, or end it (kill ${pid}).`,
  },
} as const satisfies Readonly<Record<string, LockWords>>;

/** Creates the lock of a folder for a run, or for the installation of files. It is not taken yet. */
export function createFolderLock(folder: string, kind: keyof typeof WORDS, info: LockReport): FolderLock {
  const file = join(folder, LOCK_FILE);
  let token: string | null = null;
  let heartbeat: NodeJS.Timeout | undefined;
  return {
    heldFolder: () => (token === null ? null : folder),
    heldToken: () => token,
    async take() {
      if (token !== null || !exists(folder)) return;
      token = await takeLock(folder, WORDS[kind], info);
      await removeDrafts(folder).catch(() => undefined);
      heartbeat = setInterval(() => {
        const now = new Date();
        // A failure has no consequence here: whoever reads the lock sees an older time.
        void utimes(file, now, now).catch(() => undefined);
      }, HEARTBEAT_SECONDS * 1000);
      heartbeat.unref();
    },
    async release() {
      const own = token;
      token = null;
      clearInterval(heartbeat);
      if (own === null) return;
      registry.tokens.delete(own);
      try {
        if ((await readLock(file))?.holder?.token === own) await rm(file, { force: true });
      } catch (error) {
        // The next run takes it over.
        info(`The lock ${file} could not be removed: ${messageOf(error)}`);
      }
    },
  };
}

/**
 * Takes the lock of a folder and returns its token. A file is created for it exclusively: the lock itself, or beside a
 * stale lock the file of its successor, which exists once for each token and then replaces the stale lock.
 */
async function takeLock(folder: string, words: LockWords, info: LockReport): Promise<string> {
  const own = await ownHolder();
  const draft = temporaryName(join(folder, LOCK_FILE));
  registry.tokens.add(own.token);
  registry.drafts.add(basename(draft));
  try {
    await writeDraft(draft, own);
    for (;;) {
      const chain = await readChain(folder);
      const last = chain.at(-1);
      if (last === undefined) {
        if (await createExclusively(draft, join(folder, LOCK_FILE))) return own.token;
        continue;
      }
      await refuseUnlessStale(last, own, draft, { folder, words });
      const successor = successorOf(folder, last);
      if (!(await createExclusively(draft, successor))) continue;
      // Another process can have replaced the stale lock meanwhile.
      if (tokensOf(await readChain(folder)) !== `${tokensOf(chain)} ${own.token}`) {
        await rm(successor, { force: true });
        continue;
      }
      await move(successor, join(folder, LOCK_FILE));
      for (const { file } of chain.slice(1)) await rm(file, { force: true });
      info(`The lock of ${folder} was taken over: ${describeHolder(last)} ended without releasing it.`, leftLock(last));
      return own.token;
    }
  } catch (cause) {
    registry.tokens.delete(own.token);
    throw writeError(cause, folder);
  } finally {
    registry.drafts.delete(basename(draft));
    await rm(draft, { force: true }).catch(() => undefined);
  }
}

const leftLock = (lock: Lock): LeftLock => ({
  holder: describeHolder(lock),
  token: lock.holder?.token ?? null,
  renewed: lock.renewed,
});

/** Returns the lock of a folder if its holder was a process of this machine that has ended; otherwise null. */
export async function leftLockIn(folder: string): Promise<LeftLock | null> {
  const lock = (await readChain(folder)).at(-1);
  const holder = lock?.holder ?? null;
  if (lock === undefined || holder === null) return null;
  return isNear(holder, await ownIdentity()) && !(await isRunning(holder)) ? leftLock(lock) : null;
}

/** Removes the drafts that processes and earlier runs of this process left. */
async function removeDrafts(folder: string): Promise<void> {
  const file = join(folder, LOCK_FILE);
  await removeStale(file);
  const names = await readdir(folder);
  for (const name of names.filter((each) => isOwnDraft(each, file) && !registry.drafts.has(each)))
    await rm(join(folder, name), { force: true });
}

/** Returns whether a name is one that this process gives to a draft: the same up to its random part. */
function isOwnDraft(name: string, file: string): boolean {
  const random = /(?<![0-9a-f])[0-9a-f]+\.partial$/;
  return random.test(name) && name.replace(random, '') === basename(temporaryName(file)).replace(random, '');
}

async function ownHolder(): Promise<Holder> {
  const { SLURM_JOB_ID: job, SLURM_RESTART_COUNT: restarts } = process.env;
  return {
    ...(await ownIdentity()),
    thread: threadId,
    since: new Date().toISOString(),
    job: job === undefined ? null : { id: job, restarts: Number(restarts ?? 0) },
    token: randomBytes(8).toString('hex'),
  };
}

async function writeDraft(file: string, holder: Holder): Promise<void> {
  const handle = await open(file, 'wx');
  try {
    await handle.writeFile(`${JSON.stringify({ format: FORMAT, ...holder }, null, 2)}\n`);
  } finally {
    await handle.close();
  }
}

/** Errors of file systems without hard links: of Linux and macOS, and those that Windows reports for FAT. */
const NO_LINKS = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EISDIR', 'EINVAL', 'UNKNOWN'];

/** Gives a draft its name, unless a file has it. Returns whether it did. */
async function createExclusively(draft: string, file: string): Promise<boolean> {
  try {
    await link(draft, file);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return false;
    // File systems without hard links.
    if (!NO_LINKS.includes(String(code))) throw error;
  }
  try {
    const handle = await open(file, 'wx');
    await handle.writeFile(await readFile(draft)).finally(() => handle.close());
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Returns the lock of a folder, then its successor and so on: each one after the first replaces a stale one. */
async function readChain(folder: string): Promise<readonly Lock[]> {
  const chain: Lock[] = [];
  for (let file = join(folder, LOCK_FILE); ;) {
    const lock = await readLock(file);
    if (lock === null) return chain;
    chain.push(lock);
    file = successorOf(folder, lock);
  }
}

const successorOf = (folder: string, { holder }: Lock): string =>
  join(folder, `${LOCK_FILE}.after-${holder?.token ?? 'unknown'}`);

const tokensOf = (chain: readonly Lock[]): string => chain.map(({ holder }) => holder?.token ?? 'unknown').join(' ');

async function readLock(file: string): Promise<Lock | null> {
  try {
    const [text, { mtime }] = await Promise.all([readFile(file, 'utf8'), stat(file)]);
    return { file, holder: holderOf(text), renewed: mtime };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

function holderOf(text: string): Holder | null {
  try {
    const value = JSON.parse(text) as unknown;
    const isHolder =
      isRecord(value) &&
      value['format'] === FORMAT &&
      typeof value['pid'] === 'number' &&
      typeof value['host'] === 'string' &&
      typeof value['token'] === 'string' &&
      /^[0-9a-f]+$/.test(value['token']);
    return isHolder ? (value as unknown as Holder) : null;
  } catch {
    return null;
  }
}

/** @throws `OUTPUT_LOCKED` unless the holder of a lock has ended */
async function refuseUnlessStale(
  lock: Lock,
  own: Holder,
  draft: string,
  { folder, words }: { readonly folder: string; readonly words: LockWords },
): Promise<void> {
  const { holder, renewed } = lock;
  const place = { file: folder };
  const details = holder === null ? {} : { pid: holder.pid, host: holder.host, since: holder.since };
  const found = describeHolder(lock);
  if (holder !== null && isNear(holder, own)) {
    const isOwn = holder.pid === own.pid && holder.started === own.started && holder.thread === own.thread;
    if (!(await isRunning(holder)) || (isOwn && !registry.tokens.has(holder.token))) return;
    throw new WhetstoneError('OUTPUT_LOCKED', words.refusal, {
      place,
      found,
      details,
      hint: words.hintFor(holder.pid),
    });
  }
  // A scheduler restarts a job only after the previous attempt has ended, often on another machine.
  const job = holder?.job ?? null;
  if (job !== null && own.job !== null && job.id === own.job.id && job.restarts < own.job.restarts) return;
  // The draft was just written, so that its time is that of the same clock.
  const silence = ((await stat(draft)).mtimeMs - renewed.getTime()) / 1000;
  if (silence > SILENCE_SECONDS) return;
  throw new WhetstoneError('OUTPUT_LOCKED', words.refusal, {
    place,
    found,
    details,
    hint:
      'It cannot be seen from here whether it still runs; it renewed its lock ' +
      `${Math.max(0, Math.round(silence))} s ago. If it has ended, delete ${lock.file}. ` +
      `The lock counts as stale after ${SILENCE_SECONDS} s without a renewal.`,
  });
}

function describeHolder({ holder, file }: Lock): string {
  if (holder === null) return `an unknown process (${file} is not a lock of Whetstone)`;
  return `process ${holder.pid} on ${holder.host}, since ${holder.since}`;
}
