import type { Socket } from 'node:net';

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

/** A connection to another process, from which anything may arrive. */
export interface SocketConnection<Out, In> extends Connection<Out, In> {
  /** Accepts longer lines from now on, because the other process is a member of the run. */
  trust(maxLineBytes: number): void;
}

/** Bytes of the longest line that a worker sends. Most are much shorter. */
export const MAX_LINE_BYTES = 16 * 2 ** 20;
/** Bytes of a line from a connection that may not be a worker. */
const MAX_HELLO_BYTES = 64 * 2 ** 10;

/** Seconds until a connection that is closing is cut off. */
const CLOSE_TIMEOUT = 1;

/**
 * Returns a connection that sends messages as lines of JSON. A line that is not a message closes it, as does a longer
 * one than 64 KiB, unless the connection is trusted.
 */
export function socketConnection<Out, In>(
  socket: Socket,
  isMessage: (value: unknown) => value is In,
): SocketConnection<Out, In> {
  const inbox = createInbox<In>();
  let reason = 'the connection was closed';
  let maxLineBytes = MAX_HELLO_BYTES;
  let ending = false;
  const refuse = (problem: string): void => void socket.destroy(new Error(problem));
  socket.setNoDelay(true);
  socket.on(
    'data',
    splitLines(
      (line) => {
        if (ending || socket.destroyed) return;
        const message = parse(line);
        if (isMessage(message)) inbox.put(message);
        else refuse('it sent a line that is not a message');
      },
      (bytes) => {
        if (bytes > maxLineBytes) refuse('it sent a line that is too long');
        return bytes > maxLineBytes;
      },
    ),
  );
  socket.on('error', (error) => {
    reason = error.message;
  });
  socket.on('close', () => inbox.close(reason));
  return {
    send: (message) => {
      if (socket.writable) socket.write(`${JSON.stringify(message)}\n`);
    },
    end: () => {
      ending = true;
      socket.end();
      // The other process may no longer answer.
      setTimeout(() => socket.destroy(), CLOSE_TIMEOUT * 1000);
    },
    destroy: () => void socket.destroy(),
    onMessage: inbox.onMessage,
    onClose: inbox.onClose,
    trust: (bytes) => {
      maxLineBytes = bytes;
    },
  };
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/**
 * Returns a listener for the chunks of a stream that calls `onLine` for each line. Only a line feed ends a line: JSON
 * may contain the other line ends of Unicode.
 *
 * @param isTooLong is asked with the bytes of each line, also of one that has not ended yet; ends the listener if true
 */
function splitLines(onLine: (line: string) => void, isTooLong: (bytes: number) => boolean): (chunk: Buffer) => void {
  let parts: Buffer[] = [];
  let bytes = 0;
  let isOver = false;
  /** Returns whether the line may continue. */
  const add = (part: Buffer): boolean => {
    parts.push(part);
    bytes += part.length;
    isOver = isTooLong(bytes);
    return !isOver;
  };
  return (chunk) => {
    if (isOver) return;
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      if (!add(chunk.subarray(start, end))) return;
      const line = Buffer.concat(parts).toString();
      parts = [];
      bytes = 0;
      start = end + 1;
      onLine(line);
    }
    if (start < chunk.length) add(chunk.subarray(start));
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
