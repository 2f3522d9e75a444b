import fs from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

/** What happens to the file operations below a folder. Operations are counted from 0. */
export interface Fault {
  /** The operation that fails; -1 for none. */
  readonly at: number;
  /**
   * The error, or `kill`: nothing reaches the disk from that operation on, as after a SIGKILL or a power failure.
   * `SIGKILL` ends this process.
   */
  readonly kind: 'ENOSPC' | 'EIO' | 'EACCES' | 'kill' | 'SIGKILL';
  /** Whether all later operations fail as well. A killed process never continues. */
  readonly lasting?: boolean;
  /** The only operation that fails, such as `mkdir`; by default all. */
  readonly only?: string;
}

/** What ran with a fault. */
export interface FaultyRun<T> {
  readonly result: { readonly value: T } | { readonly error: unknown };
  /** The number of operations that can fail in this way. */
  readonly operations: number;
  /** The operation that failed; null if there were fewer. */
  readonly failed: string | null;
}

/** Is called before each operation. */
export type FileObserver = (name: string, path: string) => void;

type AnyFunction = (this: unknown, ...given: unknown[]) => unknown;
type Kind = 'read' | 'write';

const promised: Readonly<Record<string, Kind>> = {
  access: 'read',
  lstat: 'read',
  readdir: 'read',
  readFile: 'read',
  realpath: 'read',
  stat: 'read',
  statfs: 'read',
  appendFile: 'write',
  copyFile: 'write',
  cp: 'write',
  mkdir: 'write',
  rename: 'write',
  rm: 'write',
  rmdir: 'write',
  unlink: 'write',
  writeFile: 'write',
};
const synchronous: Readonly<Record<string, Kind>> = {
  existsSync: 'read',
  lstatSync: 'read',
  readdirSync: 'read',
  readFileSync: 'read',
  realpathSync: 'read',
  statSync: 'read',
  mkdirSync: 'write',
  renameSync: 'write',
  rmSync: 'write',
  writeFileSync: 'write',
};
const ofDescriptor: Readonly<Record<string, Kind>> = { readSync: 'read', fsyncSync: 'write', writeSync: 'write' };
const ofHandle: Readonly<Record<string, Kind>> = {
  read: 'read',
  readFile: 'read',
  stat: 'read',
  appendFile: 'write',
  sync: 'write',
  write: 'write',
  writeFile: 'write',
};
/** The operations that EACCES cannot meet: the file is already open. */
const needsPath = (name: string): boolean => !(name in ofDescriptor) && !name.startsWith('handle.');
/** The operations that find a full disk, or quota. */
const needsSpace = (name: string): boolean => !/^(rm|unlink|rmdir)/.test(name);

/** The operations of this file that change a file, with the flags of `open`. */
const opensForWriting = (flags: unknown): boolean =>
  typeof flags === 'number'
    ? (flags & (fs.constants.O_WRONLY | fs.constants.O_RDWR)) !== 0
    : /[wa+]/.test(String(flags));

class Injector {
  operations = 0;
  failed: string | null = null;

  constructor(
    private readonly root: string,
    private readonly fault: Fault,
    private readonly observe: FileObserver = () => undefined,
  ) {}

  /** Ends the process if the fault does. Otherwise returns the error, to be thrown. */
  raise(error: Error): Error {
    if (this.isSignal) process.kill(process.pid, 'SIGKILL');
    return error;
  }

  get isSignal(): boolean {
    return this.fault.kind === 'SIGKILL';
  }

  isWithin(path: unknown): path is string {
    return typeof path === 'string' && path.startsWith(this.root);
  }

  /** Counts an operation. Returns the error with which it fails; null if it does not. */
  next(name: string, kind: Kind, path: string): Error | null {
    const { at, kind: what, lasting = what === 'kill' } = this.fault;
    this.observe(name, path);
    if (this.fault.only !== undefined && name !== this.fault.only) return null;
    if (this.isSignal && kind === 'read') return null;
    if (what === 'ENOSPC' && (kind === 'read' || !needsSpace(name))) return null;
    if (what === 'EACCES' && !needsPath(name)) return null;
    if (what === 'kill' && kind === 'read' && this.failed === null) return null;
    const number = this.operations++;
    if (at < 0 || (lasting ? number < at : number !== at)) return null;
    this.failed ??= `${name} ${path.slice(this.root.length)}`;
    const code = what === 'kill' || what === 'SIGKILL' ? 'EIO' : what;
    return Object.assign(new Error(`${code}: injected, ${name} '${path}'`), { code, syscall: name, path });
  }
}

/** Replaces a function of an object; returns a function that restores it. */
function replace(owner: object, name: string, make: (original: AnyFunction) => AnyFunction): () => void {
  const functions = owner as Record<string, AnyFunction>;
  const original = functions[name];
  if (original === undefined) return () => undefined;
  functions[name] = make(original);
  return () => {
    functions[name] = original;
  };
}

const halfOf = (data: unknown): Uint8Array =>
  Buffer.from(data as Uint8Array).subarray(0, (data as Uint8Array).byteLength >> 1);

/** Patches the functions that take a path. */
function patchPaths(injector: Injector): (() => void)[] {
  const patch = (owner: object, name: string, kind: Kind, isSynchronous: boolean): (() => void) =>
    replace(
      owner,
      name,
      (original) =>
        function (this: unknown, ...given) {
          const path = given.find((argument) => injector.isWithin(argument));
          const error = path === undefined ? null : injector.next(name, kind, path);
          if (error === null) return original.apply(this, given);
          // Node's existsSync returns false for every error.
          if (name === 'existsSync') return false;
          if (isSynchronous) throw injector.raise(error);
          return Promise.reject(injector.raise(error));
        },
    );
  return [
    ...Object.entries(promised).map(([name, kind]) => patch(fs.promises, name, kind, false)),
    ...Object.entries(synchronous).map(([name, kind]) => patch(fs, name, kind, true)),
  ];
}

/** Patches `openSync` and the functions of descriptors, and `open` and `read` of streams. */
function patchDescriptors(injector: Injector): (() => void)[] {
  const paths = new Map<unknown, string>();
  const openSync = replace(fs, 'openSync', (original) => (path, flags = 'r', ...rest) => {
    const error = injector.isWithin(path)
      ? injector.next('openSync', opensForWriting(flags) ? 'write' : 'read', path)
      : null;
    if (error !== null) throw injector.raise(error);
    const descriptor = original(path, flags, ...rest);
    if (injector.isWithin(path)) paths.set(descriptor, path);
    return descriptor;
  });
  const streamOpen = replace(fs, 'open', (original) => (path, ...rest) => {
    const done = rest.at(-1) as AnyFunction;
    const error = injector.isWithin(path) ? injector.next('open', 'read', path) : null;
    return error === null ? original(path, ...rest) : process.nextTick(done, error);
  });
  const descriptors = Object.entries(ofDescriptor).map(([name, kind]) =>
    replace(fs, name, (original) => (descriptor, ...rest) => {
      const path = paths.get(descriptor);
      const error = path === undefined ? null : injector.next(name, kind, path);
      if (error === null) return original(descriptor, ...rest);
      if (injector.isSignal && name === 'writeSync') original(descriptor, halfOf(rest[0]));
      throw injector.raise(error);
    }),
  );
  return [openSync, streamOpen, ...descriptors];
}

/** Patches `open` of `fs/promises` and the methods of its handles. A write that fails leaves half of its bytes. */
function patchHandles(injector: Injector, prototype: object): (() => void)[] {
  const paths = new WeakMap<object, string>();
  const opening = replace(fs.promises, 'open', (original) => async (path, flags = 'r', ...rest) => {
    const error = injector.isWithin(path)
      ? injector.next('open', opensForWriting(flags) ? 'write' : 'read', path)
      : null;
    if (error !== null) throw injector.raise(error);
    const handle = (await original.call(fs.promises, path, flags, ...rest)) as object;
    if (injector.isWithin(path)) paths.set(handle, path);
    return handle;
  });
  const methods = Object.entries(ofHandle).map(([name, kind]) =>
    replace(
      prototype,
      name,
      (original) =>
        async function (this: unknown, ...given) {
          const path = paths.get(this as object);
          const error = path === undefined ? null : injector.next(`handle.${name}`, kind, path);
          if (error === null) return original.apply(this, given);
          if (name === 'write' && given[0] instanceof Uint8Array) await original.call(this, halfOf(given[0]));
          throw injector.raise(error);
        },
    ),
  );
  return [opening, ...methods];
}

async function handlePrototype(): Promise<object> {
  const handle: FileHandle = await open(process.execPath, 'r');
  await handle.close();
  return Object.getPrototypeOf(handle) as object;
}

/** Runs `work`, in this process, while the file operations below `root` fail as `fault` says. */
export async function withFault<T>(
  root: string,
  fault: Fault,
  work: () => Promise<T>,
  observe?: FileObserver,
): Promise<FaultyRun<T>> {
  const injector = new Injector(root, fault, observe);
  const prototype = await handlePrototype();
  const restore = [...patchPaths(injector), ...patchDescriptors(injector), ...patchHandles(injector, prototype)];
  syncBuiltinESMExports();
  try {
    const result = await work().then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    );
    return { result, operations: injector.operations, failed: injector.failed };
  } finally {
    for (const undo of restore) undo();
    syncBuiltinESMExports();
  }
}
