import { createConnection, createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { toError } from '@whetstone/core/util';
import { createPeer, expectIntroduction, introduce, type Peer } from './peer.js';
import { bytesOf, lengthOf, slicePieces, writeInto, type Pieces } from './pieces.js';

/** The processes of a run on one machine. */
export interface ExchangeOptions {
  readonly rank: number;
  /** `host:port` of each process on the loopback interface, by rank. */
  readonly addresses: readonly string[];
  /** The secret that only the processes of the run know. */
  readonly secret: string;
  /** Seconds without any progress after which a sum fails. */
  readonly timeoutSeconds: number;
}

/** Sums vectors over the processes of one machine, through sockets of the loopback interface. */
export interface Exchange {
  /** Writes the sum of the vectors of all processes into `sums`. All processes call it in the same order. */
  sum(inputs: Pieces, sums: Pieces): Promise<void>;
  /** Makes the current sum and all later ones fail. */
  abort(reason: string): void;
}

/** Numbers that are summed and sent at once: few enough to overlap with the numbers that still arrive. */
const BLOCK_LENGTH = 2 ** 16;
/** Connections of unknown processes at a time, and the milliseconds in which they must prove to belong to the run. */
const MAX_STRANGERS = 32;
const INTRODUCTION_MILLISECONDS = 10_000;

type Peers = ReadonlyMap<number, Peer>;

/**
 * Listens on this process's address until all processes are connected. Resolves when it listens.
 *
 * @throws `Error` of the system if the address is in use
 */
export async function openExchange(options: ExchangeOptions): Promise<Exchange> {
  const { rank, addresses, timeoutSeconds } = options;
  const peers = new Map<number, Peer>();
  let aborted: Error | null = null;
  const server = rank < addresses.length - 1 ? await listen(addresses[rank] ?? '') : null;
  const connected = connectAll(options, server, peers, () => aborted);
  // Its rejection is reported by the first sum.
  connected.catch(() => undefined);
  const fail = (error: Error): void => {
    aborted ??= error;
    for (const peer of peers.values()) peer.close(aborted);
    server?.close();
  };
  const received = createBuffers();
  let sequence = 0;
  return {
    sum: async (inputs, sums) => {
      if (aborted !== null) throw aborted;
      await connected;
      const watch = watchProgress(timeoutSeconds, fail);
      try {
        await sumOnce(
          { rank, count: addresses.length, sequence: sequence++, peers, received, progress: watch.progress },
          inputs,
          sums,
        );
      } catch (error) {
        fail(toError(error));
        throw error;
      } finally {
        watch.stop();
      }
    },
    abort: (reason) => fail(new Error(reason)),
  };
}

function endpointOf(address: string): { readonly host: string; readonly port: number } {
  const { hostname, port } = new URL(`tcp://${address}`);
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) };
}

function listen(address: string): Promise<Server> {
  const server = createServer();
  server.maxConnections = MAX_STRANGERS;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(endpointOf(address), () => {
      server.off('error', reject);
      // A connection that the system cannot accept must not end the run.
      server.on('error', () => undefined);
      resolve(server);
    });
  });
}

/** Connects to the processes of lower rank, and accepts those of higher rank. */
async function connectAll(
  options: ExchangeOptions,
  server: Server | null,
  peers: Map<number, Peer>,
  aborted: () => Error | null,
): Promise<void> {
  const { rank, addresses, secret, timeoutSeconds } = options;
  const deadline = performance.now() + timeoutSeconds * 1000;
  const addPeer = (other: number, peer: Peer): void => {
    peer.name = `worker ${other}`;
    peers.set(other, peer);
  };
  const missing = (): number[] => addresses.flatMap((_, other) => (other === rank || peers.has(other) ? [] : [other]));
  server?.on('connection', (socket) => {
    const peer = createPeer(socket, 'a worker');
    const timer = setTimeout(() => peer.close(new Error('no introduction')), INTRODUCTION_MILLISECONDS);
    void expectIntroduction(peer, secret, rank)
      .then((other) => {
        if (other > rank && other < addresses.length && !peers.has(other)) addPeer(other, peer);
        else peer.close(new Error('a worker is already connected'));
      })
      .catch((error: unknown) => peer.close(toError(error)))
      .finally(() => clearTimeout(timer));
  });
  try {
    for (let other = 0; other < rank; other++) peers.set(other, await connectTo(other, options, deadline, aborted));
    while (missing().length > 0) {
      const failure = aborted();
      if (failure !== null) throw failure;
      if (performance.now() > deadline)
        throw new Error(`worker ${missing().join(' and ')} did not connect within ${timeoutSeconds} s`);
      await sleep(5);
    }
  } finally {
    server?.close();
  }
}

async function connectTo(
  other: number,
  { rank, addresses, secret }: ExchangeOptions,
  deadline: number,
  aborted: () => Error | null,
): Promise<Peer> {
  for (;;) {
    const socket = createConnection(endpointOf(addresses[other] ?? ''));
    const peer = createPeer(socket, `worker ${other}`);
    try {
      await introduce(peer, secret, rank, other);
      return peer;
    } catch (cause) {
      peer.close(toError(cause));
      const failure = aborted();
      if (failure !== null) throw failure;
      if (performance.now() > deadline) throw cause;
      await sleep(50);
    }
  }
}

/** Calls `fail` if there is no progress for some seconds. */
function watchProgress(timeoutSeconds: number, fail: (error: Error) => void): { progress(): void; stop(): void } {
  let last = performance.now();
  const timer = setInterval(
    () => {
      if (performance.now() - last > timeoutSeconds * 1000)
        fail(new Error(`no gradients arrived from another worker for ${timeoutSeconds} s`));
    },
    Math.min(1000, timeoutSeconds * 250),
  );
  return {
    progress: () => {
      last = performance.now();
    },
    stop: () => clearInterval(timer),
  };
}

interface SumContext {
  readonly rank: number;
  readonly count: number;
  readonly sequence: number;
  readonly peers: Peers;
  /** Returns memory for the numbers of another process. */
  received(other: number, length: number): Float32Array;
  progress(): void;
}

/**
 * Sums once. The vector has a range for each process. A process receives the numbers of its range from all others, adds
 * them in the order of the ranks, and sends the sums to all. So all processes have the same bits, whatever arrives
 * first.
 */
async function sumOnce(context: SumContext, inputs: Pieces, sums: Pieces): Promise<void> {
  const { rank, count, peers, progress } = context;
  const length = lengthOf(inputs);
  const startOf = (owner: number): number => Math.floor((length * owner) / count);
  const rangeOf = (pieces: Pieces, owner: number): Float32Array[] =>
    slicePieces(pieces, startOf(owner), startOf(owner + 1));
  const outbox = createOutbox();
  const addition = createAddition(context, rangeOf(inputs, rank), rangeOf(sums, rank), (block) => {
    for (const peer of peers.values()) outbox.send(peer, bytesOf(block));
  });
  await Promise.all(
    [...peers].map(async ([other, peer]) => {
      outbox.send(peer, headerOf(context.sequence, length));
      for (const piece of rangeOf(inputs, other)) outbox.send(peer, bytesOf(piece));
      await expectHeader(peer, other, context.sequence, length);
      await peer.receive(4 * addition.length, (part) => {
        progress();
        addition.receive(other, part);
      });
      const write = writeInto(rangeOf(sums, other));
      await peer.receive(4 * (startOf(other + 1) - startOf(other)), (part) => {
        progress();
        write(part);
      });
    }),
  );
  await outbox.sent();
}

/** Returns memory for the numbers of each process, which all sums share. */
function createBuffers(): SumContext['received'] {
  const buffers = new Map<number, Float32Array>();
  return (other, length) => {
    const known = buffers.get(other);
    const buffer = known !== undefined && known.length >= length ? known : new Float32Array(length);
    buffers.set(other, buffer);
    return buffer.subarray(0, length);
  };
}

/** Sends that are under way. */
function createOutbox(): { send(peer: Peer, bytes: Uint8Array): void; sent(): Promise<void> } {
  const sends: Promise<unknown>[] = [];
  return {
    // A failure is reported once all were tried.
    send: (peer, bytes) => void sends.push(peer.send(bytes).catch(toError)),
    sent: async () => {
      for (const result of await Promise.all(sends)) if (result instanceof Error) throw result;
    },
  };
}

/** The numbers of this process's range, which arrive from the others and are added block by block. */
function createAddition(
  { rank, count, peers, received: memoryOf }: SumContext,
  inputs: Pieces,
  sums: Pieces,
  onBlock: (block: Float32Array) => void,
): { readonly length: number; receive(other: number, part: Uint8Array): void } {
  const length = lengthOf(inputs);
  const received = new Map([...peers.keys()].map((other) => [other, 0]));
  const contributions: readonly Pieces[] = Array.from({ length: count }, (_, each) =>
    each === rank ? inputs : [memoryOf(each, length)],
  );
  let added = 0;
  const add = (from: number, to: number): void => {
    let position = from;
    for (const block of slicePieces(sums, from, to)) {
      const end = position + block.length;
      for (const [each, pieces] of contributions.entries()) {
        if (each === 0) setTo(block, slicePieces(pieces, position, end));
        else addTo(block, slicePieces(pieces, position, end));
      }
      position = end;
      onBlock(block);
    }
  };
  return {
    length,
    receive: (other, part) => {
      const bytes = received.get(other) ?? 0;
      const [target] = contributions[other] ?? [];
      if (target !== undefined) bytesOf(target).set(part, bytes);
      received.set(other, bytes + part.length);
      const complete = Math.floor(Math.min(...received.values()) / 4);
      if (complete - added < BLOCK_LENGTH && complete < length) return;
      if (complete > added) add(added, complete);
      added = complete;
    },
  };
}

function setTo(block: Float32Array, pieces: Pieces): void {
  let position = 0;
  for (const piece of pieces) {
    block.set(piece, position);
    position += piece.length;
  }
}

function addTo(block: Float32Array, pieces: Pieces): void {
  let position = 0;
  for (const piece of pieces) {
    // Faster than an iterator.
    for (let index = 0; index < piece.length; index++) block[position + index]! += piece[index]!;
    position += piece.length;
  }
}

const HEADER_BYTES = 16;

/** Identifies a sum: its number and its length. */
function headerOf(sequence: number, length: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeDoubleLE(sequence, 0);
  header.writeDoubleLE(length, 8);
  return header;
}

async function expectHeader(peer: Peer, other: number, sequence: number, length: number): Promise<void> {
  const header = Buffer.alloc(HEADER_BYTES);
  let offset = 0;
  await peer.receive(HEADER_BYTES, (part) => {
    header.set(part, offset);
    offset += part.length;
  });
  if (header.equals(headerOf(sequence, length))) return;
  throw new Error(
    `worker ${other} sums ${header.readDoubleLE(8)} numbers as its sum ${header.readDoubleLE(0)}, ` +
      `this worker ${length} as its sum ${sequence}`,
  );
}
