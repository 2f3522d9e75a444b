import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';

/** A connection that carries messages in order. */
export interface Connection<Out, In> {
  send(message: Out): void;
  /** Closes the connection after all messages are sent. */
  end(): void;
  /** Closes the connection at once. */
  destroy(): void;
  /** Sets the only listener. It first receives the messages that arrived before there was a listener. */
  onMessage(listener: (message: In) => void): void;
  /** Sets the listener that is called once, when the connection is closed for any reason. */
  onClose(listener: (reason: string) => void): void;
}

/**
 * The maximum length of a line in bytes. Workers send much shorter ones; a client that sends longer ones is
 * disconnected.
 */
const MAX_LINE_LENGTH = 16 * 2 ** 20;

/** Seconds until a connection that is closing is cut off. */
const CLOSE_TIMEOUT = 1;

/** Returns a connection that sends messages as lines of JSON. A line that is not JSON closes it. */
export function socketConnection<Out, In>(socket: Socket): Connection<Out, In> {
  const inbox = createInbox<In>();
  let reason = 'the connection was closed';
  let unfinishedBytes = 0;
  socket.setNoDelay(true);
  socket.on('data', (chunk: Buffer) => {
    const end = chunk.lastIndexOf(10);
    unfinishedBytes = end < 0 ? unfinishedBytes + chunk.length : chunk.length - end - 1;
    if (unfinishedBytes > MAX_LINE_LENGTH) socket.destroy(new Error('a message is too long'));
  });
  const lines = createInterface({ input: socket, crlfDelay: Infinity });
  lines.on('line', (line) => {
    try {
      inbox.put(JSON.parse(line) as In);
    } catch {
      socket.destroy(new Error('a message is not JSON'));
    }
  });
  socket.on('error', (error) => {
    reason = error.message;
  });
  // readline emits the socket's errors, too; the listener above handles them.
  lines.on('error', () => undefined);
  socket.on('close', () => inbox.close(reason));
  return {
    send: (message) => {
      if (socket.writable) socket.write(`${JSON.stringify(message)}\n`);
    },
    end: () => {
      socket.end();
      // The other process may no longer answer.
      setTimeout(() => socket.destroy(), CLOSE_TIMEOUT * 1000);
    },
    destroy: () => void socket.destroy(),
    onMessage: inbox.onMessage,
    onClose: inbox.onClose,
  };
}

/** Returns the two ends of a connection within a process. */
export function localConnections<A, B>(): readonly [Connection<A, B>, Connection<B, A>] {
  const left = createInbox<B>();
  const right = createInbox<A>();
  const close = (): void => {
    setImmediate(() => {
      left.close('the connection was closed');
      right.close('the connection was closed');
    });
  };
  const endpoint = <Out, In>(inbox: Inbox<In>, peerInbox: Inbox<Out>): Connection<Out, In> => ({
    send: (message) => void setImmediate(() => peerInbox.put(message)),
    end: close,
    destroy: close,
    onMessage: inbox.onMessage,
    onClose: inbox.onClose,
  });
  return [endpoint<A, B>(left, right), endpoint<B, A>(right, left)];
}

interface Inbox<In> {
  put(message: In): void;
  close(reason: string): void;
  readonly onMessage: (listener: (message: In) => void) => void;
  readonly onClose: (listener: (reason: string) => void) => void;
}

function createInbox<In>(): Inbox<In> {
  const waiting: In[] = [];
  let closed: string | null = null;
  let listener: ((message: In) => void) | null = null;
  let closeListener: ((reason: string) => void) | null = null;
  return {
    put: (message) => {
      if (closed !== null) return;
      if (listener === null) waiting.push(message);
      else listener(message);
    },
    close: (reason) => {
      if (closed !== null) return;
      closed = reason;
      closeListener?.(reason);
    },
    onMessage: (next) => {
      listener = next;
      for (const message of waiting.splice(0)) next(message);
    },
    onClose: (next) => {
      closeListener = next;
      if (closed !== null) next(closed);
    },
  };
}
