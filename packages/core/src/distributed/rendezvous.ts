import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createConnection, createServer, isIP, type Server, type Socket } from 'node:net';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { WhetstoneError } from '../contract/errors.js';
import type { TensorCluster } from '../contract/workers.js';
import { createCoordinator, type CoordinatorOptions } from './coordinator.js';
import { createNonce } from './cluster-token.js';
import { localConnections, MAX_LINE_BYTES, socketConnection, type Connection } from './connection.js';
import { createWorkerClient, type WorkerClient } from './worker-client.js';
import {
  isFromCoordinator,
  isToCoordinator,
  PROTOCOL,
  type FromCoordinator,
  type Hello,
  type ToCoordinator,
} from './messages.js';
import type { ClusterMembership } from './tf-config.js';
import { timeoutsFor, secondsNow, type Timeouts } from './timeouts.js';
import { messageOf } from '../util/index.js';

export interface JoinOptions {
  readonly timeoutSeconds: number;
  /** The settings that must be the same in all processes, as text, by name. */
  readonly settings: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** The secret that the processes share. Without one, every process that reaches the chief's port may join. */
  readonly token?: string | null;
  /** Is told, in the chief, why connections were refused. */
  readonly warn?: (message: string) => void;
}

/** This process as a member of the cluster: its connection to the chief, and the addresses for the tensor backend. */
export interface Rendezvous {
  readonly client: WorkerClient;
  readonly cluster: TensorCluster;
  /** Leaves the cluster. In the chief, it also closes the server. */
  leave(): void;
}

/** The environment variable that sets the port on which the chief serves its tensors, as firewall rules need it. */
const TENSOR_PORT_VARIABLE = 'WHETSTONE_TENSOR_PORT';

/** The chief's tensor port, once chosen. TensorFlow's server runs until the process ends. */
let tensorPort: number | null = null;

const hash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);
const splitAddress = (address: string): { host: string; port: number } => {
  const colon = address.lastIndexOf(':');
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) };
};
const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));

/** Returns whether all processes of a cluster are on this machine: their addresses belong to the loopback interface. */
export const isLocalCluster = ({ addresses }: Pick<ClusterMembership, 'addresses'>): boolean =>
  addresses.every((address) => isLoopback(splitAddress(address).host));

/**
 * Joins the other processes of a cluster. All connect to the address of rank 0, which waits for them. Resolves when all
 * are connected.
 *
 * The chief's address carries the messages. The chief serves its tensors on a second port: WHETSTONE_TENSOR_PORT, or a
 * free one. Every other process serves its tensors at its own address.
 *
 * @throws `WORKER_LOST` if a worker does not connect in time
 * @throws `CONFIG_CONFLICT` if the `settings` of two workers differ
 * @throws `CLUSTER_TOKEN_MISMATCH` if the token of this process, or of a missing worker, is not that of the chief
 * @throws `BACKEND_UNAVAILABLE` if a port is taken
 */
export async function joinCluster(
  membership: ClusterMembership,
  { timeoutSeconds, settings, signal, token = null, warn }: JoinOptions,
): Promise<Rendezvous> {
  const { rank, count, addresses } = membership;
  const timeouts = timeoutsFor(timeoutSeconds);
  const cluster = hash(addresses.join());
  const nameOf = (other: number): string => workerName(membership, other);
  const hello: Hello = {
    type: 'hello',
    protocol: PROTOCOL,
    cluster,
    rank,
    settings: Object.fromEntries(Object.entries(settings).map(([name, text]) => [name, hash(text)])),
    cores: coresOfThisProcess(),
    address: rank === 0 ? await chiefTensorAddress(addresses[0] ?? '') : (addresses[rank] ?? ''),
    ...(token !== null && rank > 0 ? { nonce: createNonce() } : {}),
  };
  const abort = new AbortController();
  const interrupted = new Promise<never>((_, reject) => {
    const listener = (): void =>
      reject(new WhetstoneError('INTERRUPTED', 'The run was interrupted while it waited for the other workers.'));
    if (signal.aborted) listener();
    signal.addEventListener('abort', listener, { once: true, signal: abort.signal });
  });
  // Its rejection may have no listener left.
  interrupted.catch(() => undefined);
  try {
    for (;;) {
      const { connection, close, trust, secret } =
        rank === 0
          ? await openRendezvous(addresses[0] ?? '', {
              count,
              cluster,
              timeouts,
              nameOf,
              token,
              warn,
              isLocal: isLocalCluster(membership),
            })
          : await connectToChief(addresses, nameOf(0), timeouts, signal, token);
      const client = createWorkerClient(connection, {
        hello,
        timeouts,
        chief: nameOf(0),
        token: secret,
        onTrust: trust,
      });
      const leave = (): void => {
        client.leave();
        close();
      };
      const answer = await Promise.race([client.welcomed, interrupted]).catch((error: unknown) => {
        if (signal.aborted) client.fail(new WhetstoneError('INTERRUPTED', 'The worker was interrupted.'));
        leave();
        throw error;
      });
      if (answer.type === 'welcome')
        return {
          client,
          leave,
          cluster: {
            rank,
            count,
            addresses: answer.addresses,
            timeoutSeconds,
            sharingCores: answer.sharingCores[rank] ?? 1,
            ...(answer.localSecret === undefined ? {} : { localSecret: answer.localSecret }),
          },
        };
      leave();
      await sleep(100);
    }
  } finally {
    abort.abort();
  }
}

/** The chief's last rendezvous in this process. Resolves when its port is free again. */
let lastRendezvous: Promise<void> = Promise.resolve();

/** The way to the chief. */
interface ChiefLink {
  readonly connection: Connection<ToCoordinator, FromCoordinator>;
  /** The secret that both ends prove to know; null if they need not. */
  readonly secret: string | null;
  /** Accepts long messages of the chief. */
  trust(): void;
  close(): void;
}

/** Connects to the chief in another process. */
async function connectToChief(
  addresses: readonly string[],
  chief: string,
  timeouts: Timeouts,
  signal: AbortSignal,
  secret: string | null,
): Promise<ChiefLink> {
  const connection = socketConnection<ToCoordinator, FromCoordinator>(
    await connect(addresses[0] ?? '', chief, timeouts, signal),
    isFromCoordinator,
  );
  return {
    connection,
    secret,
    // It sends the values of all workers in one message.
    trust: () => connection.trust(addresses.length * MAX_LINE_BYTES),
    close: () => undefined,
  };
}

/** Starts the server at the chief's address. The chief itself uses a local connection. */
async function openRendezvous(address: string, options: CoordinatorOptions): Promise<ChiefLink> {
  await lastRendezvous;
  const server = await listen(address);
  const coordinator = createCoordinator(options);
  const [own, far] = localConnections<ToCoordinator, FromCoordinator>();
  server.on('connection', (socket) => {
    const connection = socketConnection<FromCoordinator, ToCoordinator>(socket, isToCoordinator);
    coordinator.accept(connection, { address: socket.remoteAddress ?? 'unknown', trust: connection.trust });
  });
  // A connection that the system cannot accept, for lack of file descriptors for instance, must not end the run.
  server.on('error', () => undefined);
  coordinator.accept(far);
  return {
    connection: own,
    secret: null,
    trust: () => undefined,
    close: () => {
      lastRendezvous = new Promise((resolve) => {
        server.close(() => resolve());
      });
      coordinator.close();
    },
  };
}

/** Returns the name of a worker for messages: its rank and address, such as `worker 1 (10.0.0.7:2222)`. */
export function workerName({ addresses }: ClusterMembership, rank: number): string {
  return `worker ${rank} (${addresses[rank] ?? 'no address'})`;
}

/** Returns the host and the cores that this process may use. Equal for two processes on the same cores. */
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
      hint: 'Check that the port is free and that the address belongs to this machine.',
    });
  }
  return server;
}

/**
 * Listens on the interface of the host if it is a loopback address or an IP address of this machine, otherwise on all
 * interfaces: a host name of a cluster often does not belong to an interface.
 */
async function listenOn(server: Server, port: number, host: string): Promise<void> {
  const attempt = (at: { readonly port: number; readonly host?: string }): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(at, () => {
        server.off('error', reject);
        resolve();
      });
    });
  if (!isLoopback(host) && isIP(host) === 0) return attempt({ port });
  try {
    await attempt({ port, host });
  } catch (error) {
    if (isLoopback(host) || (error as NodeJS.ErrnoException).code !== 'EADDRNOTAVAIL') throw error;
    await attempt({ port });
  }
}

async function chiefTensorAddress(address: string): Promise<string> {
  const { host } = splitAddress(address);
  const fixed = process.env[TENSOR_PORT_VARIABLE];
  if (fixed !== undefined && !/^\d{1,5}$/.test(fixed))
    throw new WhetstoneError('CONFIG_INVALID', `${TENSOR_PORT_VARIABLE} is not a port.`, {
      expected: 'a number from 1 to 65535',
      found: fixed,
    });
  tensorPort ??= fixed === undefined ? await freePort(host) : Number(fixed);
  return `${host.includes(':') ? `[${host}]` : host}:${tensorPort}`;
}

/** Returns a port that is currently free. */
export async function freePort(host: string): Promise<number> {
  const server = createServer();
  await listenOn(server, 0, host);
  const address = server.address();
  await new Promise((resolve) => {
    server.close(resolve);
  });
  if (address === null || typeof address === 'string') throw new WhetstoneError('INTERNAL', 'The server has no port.');
  return address.port;
}

/** Connects to the chief. Retries until the chief is listening or the timeout ends. */
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
          {
            details: { workers: [0] },
            cause,
            hint: 'Check that the chief was started and that its address is correct.',
          },
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
