import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Socket } from 'node:net';

/** A connection to another process of the run, with its bytes in order. */
export interface Peer {
  /** The other process in messages of errors. */
  name: string;
  /** Sends bytes. Resolves when the system has them; until then their memory must not change. */
  send(bytes: Uint8Array): Promise<void>;
  /** Passes the next bytes to `take`, in parts, as they arrive. */
  receive(bytes: number, take: (part: Uint8Array) => void): Promise<void>;
  /** Closes the connection. What waits for it fails with the error, and so does all that follows. */
  close(error: Error): void;
}

interface Reader {
  remaining: number;
  take(part: Uint8Array): void;
  resolve(): void;
  reject(error: Error): void;
}

/** Returns the peer at the other end of a socket. A peer that sends more than is read waits. */
export function createPeer(socket: Socket, name: string): Peer {
  let failure: Error | null = null;
  let reader: Reader | null = null;
  /** Bytes that arrived before they were asked for. */
  let early: Uint8Array = new Uint8Array(0);
  const fail = (how: string): void => close(new Error(`${peer.name} ${how}`));
  const close = (error: Error): void => {
    failure ??= error;
    reader?.reject(failure);
    reader = null;
    socket.destroy();
  };
  const consume = (chunk: Uint8Array): void => {
    let rest = chunk;
    while (reader !== null && rest.length > 0) {
      const current: Reader = reader;
      const part = rest.subarray(0, current.remaining);
      rest = rest.subarray(part.length);
      current.remaining -= part.length;
      current.take(part);
      if (current.remaining > 0) continue;
      reader = null;
      current.resolve();
    }
    early = rest;
    if (early.length > 0) socket.pause();
  };
  socket.setNoDelay(true);
  socket.on('data', consume);
  socket.on('error', (error) => fail(`cannot be reached: ${error.message}`));
  socket.on('close', () => fail('closed its connection'));
  const peer: Peer = {
    name,
    close,
    send: (bytes) =>
      new Promise((resolve, reject) => {
        if (failure !== null) return reject(failure);
        socket.write(bytes, (error) => {
          if (error === null || error === undefined) resolve();
          else reject(failure ?? error);
        });
      }),
    receive: (bytes, take) =>
      new Promise((resolve, reject) => {
        if (bytes === 0) return resolve();
        if (failure !== null && early.length < bytes) return reject(failure);
        reader = { remaining: bytes, take, resolve, reject };
        consume(early);
        if (early.length === 0) socket.resume();
      }),
  };
  return peer;
}

const PROOF_BYTES = 32;

/** Returns the proof that one process knows the secret of the run; it is valid for one other process. */
const proofOf = (secret: string, from: number, to: number): Buffer =>
  createHmac('sha256', secret).update(`${from} to ${to}`).digest();

async function receiveBytes(peer: Peer, bytes: number): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  await peer.receive(bytes, (part) => parts.push(Uint8Array.from(part)));
  return Buffer.concat(parts);
}

/**
 * Proves to the process of another rank that this one belongs to the run, and expects the same.
 *
 * @throws `Error` if the other process does not
 */
export async function introduce(peer: Peer, secret: string, own: number, other: number): Promise<void> {
  const rank = Buffer.alloc(4);
  rank.writeUInt32LE(own);
  await peer.send(Buffer.concat([rank, proofOf(secret, own, other)]));
  const proof = await receiveBytes(peer, PROOF_BYTES);
  if (!timingSafeEqual(proof, proofOf(secret, other, own)))
    throw new Error(`worker ${other} does not belong to the run`);
}

/**
 * Expects the introduction of a process, answers it, and returns its rank.
 *
 * @throws `Error` if it does not belong to the run
 */
export async function expectIntroduction(peer: Peer, secret: string, own: number): Promise<number> {
  const introduction = await receiveBytes(peer, 4 + PROOF_BYTES);
  const rank = introduction.readUInt32LE(0);
  if (!timingSafeEqual(introduction.subarray(4), proofOf(secret, rank, own)))
    throw new Error('a connection does not belong to the run');
  await peer.send(proofOf(secret, own, rank));
  return rank;
}
