import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, readlink, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { findTensorflow } from '@whetstone/backend/install';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeProject } from './support/workers.js';

/*
 * What listens while several processes train. Each test has a network namespace of its own, so that the system lists
 * nothing else. That needs root, or another permission to create one.
 */
const library = await findTensorflow();
const hasNamespaces =
  process.platform === 'linux' && spawnSync('unshare', ['--net', 'ip', 'link', 'set', 'lo', 'up']).status === 0;
if (!hasNamespaces)
  console.warn('What the processes of a run listen on is not tested: this user may not create network namespaces.');
const all = process.env['WHETSTONE_TEST_DISTRIBUTED'] === 'all';
const main = fileURLToPath(new URL('../packages/cli/bin/whetstone.js', import.meta.url));

let folder: string;
/** Listens on all interfaces of the test's own namespace, as other programs of a machine do. */
const outside = createServer();
beforeAll(async () => {
  await new Promise<void>((resolve) => void outside.listen(0, '0.0.0.0', resolve));
  folder = await mkdtemp(join(tmpdir(), 'whetstone-loopback-'));
  await writeProject(folder);
});
afterAll(async () => {
  outside.close();
  await rm(folder, { recursive: true, force: true });
});

/** Runs a shell command in a new network namespace. */
function inNamespace(script: string): ChildProcess {
  const { TF_CONFIG: _, ...environment } = process.env;
  return spawn('unshare', ['--net', 'sh', '-c', `ip link set lo up && ${script}`], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...environment, NODE_ENV: 'test' },
  });
}

const LISTEN = '0A';

function namespaceOf(pid: number | 'self'): Promise<string> {
  return readlink(`/proc/${pid}/ns/net`).catch(() => '');
}

/**
 * Returns the addresses on which sockets of a process's namespace listen, in hexadecimal as the system lists them.
 * `unshare` begins in the namespace of the test: nothing is listed before it has left it.
 */
async function listeningAddresses(pid: number): Promise<string[]> {
  if (['', await namespaceOf('self')].includes(await namespaceOf(pid))) return [];
  const tables = await Promise.all(
    ['tcp', 'tcp6'].map((name) => readFile(`/proc/${pid}/net/${name}`, 'utf8').catch(() => '')),
  );
  return tables
    .flatMap((table) => table.trim().split('\n').slice(1))
    .map((line) => line.trim().split(/\s+/))
    .flatMap(([, local = '', , state]) => (state === LISTEN ? [local.split(':')[0] ?? ''] : []));
}

/** Names an address of the system's list. IPv4 addresses have their bytes in reverse order. */
function nameOf(address: string): string {
  if (/^0+$/.test(address)) return 'all interfaces';
  if (address.length === 8) {
    const name = address
      .match(/../g)!
      .map((byte) => Number.parseInt(byte, 16))
      .toReversed()
      .join('.');
    return name.startsWith('127.') ? 'loopback' : name;
  }
  return address === '00000000000000000000000001000000' || /^0{16}FFFF0000.{6}7F$/.test(address) ? 'loopback' : address;
}

interface Listened {
  readonly code: number | null;
  readonly errors: string;
  /** Names of all addresses on which something listened. */
  readonly names: readonly string[];
}

/** Waits for a process and notes what listens in its namespace meanwhile. */
async function watchListening(child: ChildProcess): Promise<Listened> {
  const names = new Set<string>();
  let errors = '';
  child.stdout?.resume();
  child.stderr?.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  const ended = new Promise<number | null>((resolve) => void child.once('close', resolve));
  const end = new AbortController();
  const watching = (async () => {
    while (!end.signal.aborted) {
      for (const address of await listeningAddresses(child.pid ?? 0)) names.add(nameOf(address));
      await sleep(5);
    }
  })();
  const code = await ended;
  end.abort();
  await watching;
  return { code, errors, names: [...names].toSorted() };
}

/** An address for documentation, which no host has: RFC 5737. */
const ADDRESS = '192.0.2.7';
const node = JSON.stringify(process.execPath);
const train = `${node} ${JSON.stringify(main)} train run.json --set training.ddpTimeout=60 --set training.maxSteps=4`;

describe.skipIf(!hasNamespaces)('in a network namespace', { timeout: 120_000 }, () => {
  it('a server on all interfaces is noticed', async () => {
    const program = `require('net').createServer().listen(0, () => setTimeout(process.exit, 300))`;
    expect(await watchListening(inNamespace(`exec ${node} -e "${program}"`))).toEqual({
      code: 0,
      errors: '',
      names: ['all interfaces'],
    });
  });

  it.skipIf(!('folder' in library))('--processes listens on the loopback interface only', async () => {
    expect(await watchListening(inNamespace(`exec ${train} --processes 3 --set output.folder=local`))).toEqual({
      code: 0,
      errors: '',
      names: ['loopback'],
    });
  });

  it.skipIf(!('folder' in library) || !all)('a cluster listens on what SECURITY.md lists', async () => {
    const worker = [`${ADDRESS}:2222`, `${ADDRESS}:2223`];
    const start = (index: number): string =>
      `env TF_CONFIG='${JSON.stringify({ cluster: { worker }, task: { type: 'worker', index } })}' ${train} ` +
      '--set output.folder=cluster';
    const { code, errors, names } = await watchListening(
      inNamespace(`ip address add ${ADDRESS}/32 dev lo; ${start(1)} & exec ${start(0)}`),
    );
    expect(code).toBe(0);
    expect(errors).toContain('WHETSTONE_CLUSTER_TOKEN is not set');
    // The rendezvous, and TensorFlow's servers.
    expect(names).toEqual([ADDRESS, 'all interfaces']);
  });
});
