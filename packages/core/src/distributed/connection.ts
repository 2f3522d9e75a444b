import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';

/** A connection that carries messages in order. */
export interface Connection<Out, In> {
  send(message: Out): void;
  /** Ends it after everything sent has gone out. */
  end(): void;
  /** Cuts it off. */
  destroy(): void;
  /** Who listens last is told; what came before anyone listened is told then. */
  onMessage(listener: (message: In) => void): void;
  /** Told once, however it ended. */
  onClose(listener: (reason: string) => void): void;
}

/** No message is near this long; a stranger's would be cut off here. */
const MAX_LINE_LENGTH = 16 * 2 ** 20;

/** Until a connection that was ended is cut off. */
const CLOSE_TIMEOUT = 1;

/** Messages as lines of JSON. What is no JSON ends the connection. */
export function socketConnection<Out, In>(socket: Socket): Connection<Out, In> {
  const inbox = createInbox<In>();
  let reason = 'the connection was closed';
  let sinceLine = 0;
  socket.setNoDelay(true);
  socket.on('data', (chunk: Buffer) => {
    const end = chunk.lastIndexOf(10);
    sinceLine = end < 0 ? sinceLine + chunk.length : chunk.length - end - 1;
    if (sinceLine > MAX_LINE_LENGTH) socket.destroy(new Error('a message without an end'));
  });
  const lines = createInterface({ input: socket, crlfDelay: Infinity });
  lines.on('line', (line) => {
    try {
      inbox.put(JSON.parse(line) as In);
    } catch {
      socket.destroy(new Error('a message that is no JSON'));
    }
  });
  socket.on('error', (error) => {
    reason = error.message;
  });
  // readline hands on a socket's error too.
  lines.on('error', () => undefined);
  socket.on('close', () => inbox.close(reason));
  return {
    send: (message) => {
      if (socket.writable) socket.write(`${JSON.stringify(message)}\n`);
    },
    end: () => {
      socket.end();
      // The other side may be beyond answering.
      setTimeout(() => socket.destroy(), CLOSE_TIMEOUT * 1000);
    },
    destroy: () => void socket.destroy(),
    onMessage: inbox.onMessage,
    onClose: inbox.onClose,
  };
}

/** Two ends of a connection within a process. */
export function localConnections<A, B>(): readonly [Connection<A, B>, Connection<B, A>] {
  const left = createInbox<B>();
  const right = createInbox<A>();
  const close = (): void => {
    setImmediate(() => {
      left.close('it was ended');
      right.close('it was ended');
    });
  };
  const half = <Out, In>(own: Inbox<In>, other: Inbox<Out>): Connection<Out, In> => ({
    send: (message) => void setImmediate(() => other.put(message)),
    end: close,
    destroy: close,
    onMessage: own.onMessage,
    onClose: own.onClose,
  });
  return [half<A, B>(left, right), half<B, A>(right, left)];
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
