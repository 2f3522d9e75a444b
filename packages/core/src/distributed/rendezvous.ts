import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { WhetstoneError } from '../contract/errors.js';
import type { TensorCluster } from '../contract/workers.js';
import { createCoordinator, type CoordinatorOptions } from './coordinator.js';
import { localConnections, socketConnection, type Connection } from './connection.js';
import { createWorkerClient, type WorkerClient } from './worker-client.js';
import { PROTOCOL, type FromCoordinator, type Hello, type ToCoordinator } from './messages.js';
import type { ClusterMembership } from './tf-config.js';
import { timeoutsFor, secondsNow, type Timeouts } from './timeouts.js';
import { messageOf } from '../util/index.js';

export interface JoinOptions {
  readonly timeoutSeconds: number;
  /** What all processes have to agree on, as text. */
  readonly settings: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/** A process among its like: its line to the others, and what the tensor backend has to know. */
export interface Rendezvous {
  readonly member: WorkerClient;
  readonly cluster: TensorCluster;
  /** Takes leave of the others, or closes the meeting. */
  leave(): void;
}

/** Fixes the port on which the chief serves its tensors, where a firewall wants to know it. */
const TENSOR_PORT_VARIABLE = 'WHETSTONE_TENSOR_PORT';

/** The chief's tensor port, once it was chosen: TensorFlow's server stays for the life of the process. */
let tensorPort: number | null = null;

const hash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);
const splitAddress = (address: string): { host: string; port: number } => {
  const colon = address.lastIndexOf(':');
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) };
};
const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || host.startsWith('127.');

/**
 * Meets the other processes of a cluster: all connect to the address of rank 0, which waits for them. Returns when all
 * are there.
 *
 * The chief's address is where the processes talk; its tensors are served on a second port (free, or
 * WHETSTONE_TENSOR_PORT). Every other address is where that process's tensors are served.
 *
 * @throws `WORKER_LOST` where somebody does not come in time, `CONFIG_CONFLICT` where two differ in `settings`,
 *   `BACKEND_UNAVAILABLE` where a port is taken
 */
export async function joinCluster(
  place: ClusterMembership,
  { timeoutSeconds, settings, signal }: JoinOptions,
): Promise<Rendezvous> {
  const { rank, count, addresses } = place;
  const timeouts = timeoutsFor(timeoutSeconds);
  const cluster = hash(addresses.join());
  const nameOf = (other: number): string => workerName(place, other);
  const hello: Hello = {
    type: 'hello',
    protocol: PROTOCOL,
    cluster,
    rank,
    settings: Object.fromEntries(Object.entries(settings).map(([name, text]) => [name, hash(text)])),
    cores: coresOfThisProcess(),
    address: rank === 0 ? await chiefTensorAddress(addresses[0] ?? '') : (addresses[rank] ?? ''),
  };
  const abort = new AbortController();
  const interrupted = new Promise<never>((_, reject) => {
    const listener = (): void =>
      reject(new WhetstoneError('INTERRUPTED', 'The run was interrupted while it waited for the other workers.'));
    if (signal.aborted) listener();
    signal.addEventListener('abort', listener, { once: true, signal: abort.signal });
  });
  // Nobody may be waiting for it any more.
  interrupted.catch(() => undefined);
  try {
    for (;;) {
      const { connection, close } =
        rank === 0
          ? await openRendezvous(addresses[0] ?? '', { count, cluster, timeouts, nameOf })
          : {
              connection: socketConnection<ToCoordinator, FromCoordinator>(
                await connect(addresses[0] ?? '', nameOf(0), timeouts, signal),
              ),
              close: () => undefined,
            };
      const member = createWorkerClient(connection, { hello, timeouts, chief: nameOf(0) });
      const leave = (): void => {
        member.leave();
        close();
      };
      const answer = await Promise.race([member.welcomed, interrupted]).catch((error: unknown) => {
        if (signal.aborted) member.fail(new WhetstoneError('INTERRUPTED', 'It was interrupted.'));
        leave();
        throw error;
      });
      if (answer.type === 'welcome')
        return {
          member,
          leave,
          cluster: {
            rank,
            count,
            addresses: answer.addresses,
            timeoutSeconds,
            sharingCores: answer.sharingCores[rank] ?? 1,
          },
        };
      leave();
      await sleep(100);
    }
  } finally {
    abort.abort();
  }
}

/** The chief's last meeting in this process, until its port is free again. */
let lastRendezvous: Promise<void> = Promise.resolve();

/** Opens the door at the chief's address; the chief's own connection does not go through it. */
async function openRendezvous(
  address: string,
  options: CoordinatorOptions,
): Promise<{ readonly connection: Connection<ToCoordinator, FromCoordinator>; close(): void }> {
  await lastRendezvous;
  const server = await listen(address);
  const coordinator = createCoordinator(options);
  const [own, far] = localConnections<ToCoordinator, FromCoordinator>();
  server.on('connection', (socket) => coordinator.accept(socketConnection(socket)));
  coordinator.accept(far);
  return {
    connection: own,
    close: () => {
      lastRendezvous = new Promise((resolve) => {
        server.close(() => resolve());
      });
      coordinator.close();
    },
  };
}

/** `worker 1 (10.0.0.7:2222)`: by rank, and where it is. */
export function workerName({ addresses }: ClusterMembership, rank: number): string {
  return `worker ${rank} (${addresses[rank] ?? 'no address'})`;
}

/** Equal for two processes that compute on the same cores: the host, and the cores that the process may use. */
function coresOfThisProcess(): string {
  try {
    return `${hostname()} ${/^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? ''}`;
  } catch {
    return hostname();
  }
}

async function listen(address: string): Promise<Server> {
  const { host, port } = splitAddress(address);
  const server = createServer();
  try {
    await listenOn(server, port, host);
  } catch (cause) {
    throw new WhetstoneError('BACKEND_UNAVAILABLE', `The chief cannot listen at ${address}: ${messageOf(cause)}`, {
      place: { path: 'TF_CONFIG.cluster' },
      cause,
      hint: "Is the port taken, or the chief's address that of another machine?",
    });
  }
  return server;
}

/**
 * On the loopback interface where the others are on this machine, else on all: a name in a cluster is often not an
 * interface's own.
 */
function listenOn(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(isLoopback(host) ? { port, host } : { port }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

async function chiefTensorAddress(address: string): Promise<string> {
  const { host } = splitAddress(address);
  const fixed = process.env[TENSOR_PORT_VARIABLE];
  if (fixed !== undefined && !/^\d{1,5}$/.test(fixed))
    throw new WhetstoneError('CONFIG_INVALID', `${TENSOR_PORT_VARIABLE} is no port.`, { found: fixed });
  tensorPort ??= fixed === undefined ? await freePort(host) : Number(fixed);
  return `${host.includes(':') ? `[${host}]` : host}:${tensorPort}`;
}

/** A port that nobody listens on just now. */
export async function freePort(host: string): Promise<number> {
  const server = createServer();
  await listenOn(server, 0, host);
  const address = server.address();
  await new Promise((resolve) => {
    server.close(resolve);
  });
  if (address === null || typeof address === 'string') throw new WhetstoneError('INTERNAL', 'A server without a port.');
  return address.port;
}

/** Tries until the chief is there. */
async function connect(
  address: string,
  chief: string,
  { timeoutSeconds }: Timeouts,
  signal: AbortSignal,
): Promise<Socket> {
  const { host, port } = splitAddress(address);
  const deadline = secondsNow() + timeoutSeconds;
  for (;;) {
    try {
      return await connectOnce(host, port);
    } catch (cause) {
      if (signal.aborted)
        throw new WhetstoneError('INTERRUPTED', 'The run was interrupted while it waited for the chief.');
      if (secondsNow() > deadline) {
        throw new WhetstoneError(
          'WORKER_LOST',
          `${chief.charAt(0).toUpperCase()}${chief.slice(1)}, the chief, cannot be reached within ` +
            `${timeoutSeconds} s: ${messageOf(cause)}`,
          { details: { workers: [0] }, cause, hint: 'Was it started, and is its address right?' },
        );
      }
      await sleep(250);
    }
  }
}

function connectOnce(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host, port, timeout: 5000 });
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.off('error', reject);
      resolve(socket);
    });
    socket.once('timeout', () => socket.destroy(new Error('no answer within 5 s')));
    socket.once('error', reject);
  });
}
