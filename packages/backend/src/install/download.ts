import { open, rm, stat } from 'node:fs/promises';
import type { ReadableStream } from 'node:stream/web';
import { setTimeout } from 'node:timers/promises';

export interface DownloadOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told how many bytes of the whole file are there. */
  readonly onBytes?: (doneBytes: number) => void;
  /** Told when a broken connection is gone on with. */
  readonly onMessage?: (message: string) => void;
  /** Milliseconds before the first new attempt; doubled after each. */
  readonly patienceMilliseconds?: number;
}

/** Attempts in a row that brought nothing new. */
const MOST_ATTEMPTS = 4;

/** The server said no: trying again would not help. */
class Refused extends Error {}

const sizeOf = (file: string): Promise<number> =>
  stat(file).then(
    (found) => found.size,
    () => 0,
  );

/**
 * Fetches a file to `partial`, going on after what is there already, and after a connection that broke. What was
 * fetched stays there when this throws, so that the next attempt, of this process or another, goes on with it. Nobody
 * has checked the bytes yet.
 */
export async function download(
  url: string,
  partial: string,
  bytes: number | undefined,
  options: DownloadOptions = {},
): Promise<void> {
  let attempts = 0;
  for (;;) {
    const before = await sizeOf(partial);
    if (bytes !== undefined && before > bytes) await rm(partial);
    else if (bytes !== undefined && before === bytes) return;
    try {
      await attempt(url, partial, bytes, options);
      return;
    } catch (error) {
      if (options.signal?.aborted === true || error instanceof Refused) throw error;
      attempts = (await sizeOf(partial)) > before ? 1 : attempts + 1;
      if (attempts >= MOST_ATTEMPTS) throw error;
      options.onMessage?.(`The connection broke (${reasonOf(error)}); going on.`);
      await setTimeout(
        (options.patienceMilliseconds ?? 500) * 2 ** attempts,
        undefined,
        options.signal === undefined ? {} : { signal: options.signal },
      );
    }
  }
}

/** What a failed fetch says: undici keeps the reason in the cause. */
export function reasonOf(error: unknown): string {
  const { cause, message } = error as {
    readonly cause?: { readonly message?: string; readonly code?: string };
    readonly message?: string;
  };
  return cause?.message ?? cause?.code ?? message ?? String(error);
}

async function attempt(
  url: string,
  partial: string,
  bytes: number | undefined,
  options: DownloadOptions,
): Promise<void> {
  const from = await sizeOf(partial);
  const response = await fetch(url, {
    headers: { 'accept-encoding': 'identity', ...(from > 0 ? { range: `bytes=${from}-` } : {}) },
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  if (response.status === 416) {
    await response.body?.cancel();
    await rm(partial, { force: true });
    throw new Error('the server has nothing after what was fetched');
  }
  if (!response.ok || response.body === null) {
    await response.body?.cancel();
    const why = `the server answered ${response.status} ${response.statusText}`.trim();
    throw response.status >= 500 || response.status === 429 ? new Error(why) : new Refused(why);
  }
  const goesOn =
    response.status === 206 && new RegExp(`^bytes ${from}-`).test(response.headers.get('content-range') ?? '');
  let done = goesOn ? from : 0;
  // Every piece is on its way to the disk before the next is asked for: whatever breaks, what came is kept.
  const handle = await open(partial, goesOn ? 'a' : 'w');
  try {
    for await (const chunk of response.body as ReadableStream<Uint8Array>) {
      for (let written = 0; written < chunk.length;) written += (await handle.write(chunk, written)).bytesWritten;
      done += chunk.length;
      options.onBytes?.(done);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  if (bytes !== undefined && done < bytes) throw new Error(`it ended after ${done} of ${bytes} bytes`);
}
