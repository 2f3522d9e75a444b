import { open, rm, stat } from 'node:fs/promises';
import type { ReadableStream } from 'node:stream/web';
import { setTimeout } from 'node:timers/promises';

export interface DownloadOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with the number of bytes of the file that are present. */
  readonly onBytes?: (doneBytes: number) => void;
  /** Called before each retry. */
  readonly onMessage?: (message: string) => void;
  /** Milliseconds before the first retry; doubled after each. */
  readonly retryDelayMilliseconds?: number;
}

/** Consecutive attempts without new bytes after which the download fails. */
const MAX_ATTEMPTS = 4;

/** The server refused the request. Retries would not help. */
class Refused extends Error {}

const sizeOf = (file: string): Promise<number> =>
  stat(file).then(
    (found) => found.size,
    () => 0,
  );

/**
 * Downloads a file to `partial`. It resumes after bytes that are present, and after a broken connection. If it throws,
 * the bytes stay there, so that a later call resumes, in this process or another. The bytes are not verified.
 *
 * @throws if the server refuses the request, or after several attempts without new bytes
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
      if (attempts >= MAX_ATTEMPTS) throw error;
      options.onMessage?.(`The connection broke (${reasonOf(error)}). The download resumes.`);
      await setTimeout(
        (options.retryDelayMilliseconds ?? 500) * 2 ** attempts,
        undefined,
        options.signal === undefined ? {} : { signal: options.signal },
      );
    }
  }
}

/** Returns the reason of a failed fetch, which undici stores in the error's cause. */
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
    signal: options.signal,
  });
  if (response.status === 416) {
    await response.body?.cancel();
    await rm(partial, { force: true });
    throw new Error('the server has no bytes after those that are present');
  }
  if (!response.ok || response.body === null) {
    await response.body?.cancel();
    const reason = `the server answered ${response.status} ${response.statusText}`.trim();
    throw response.status >= 500 || response.status === 429 ? new Error(reason) : new Refused(reason);
  }
  const resumes =
    response.status === 206 && new RegExp(`^bytes ${from}-`).test(response.headers.get('content-range') ?? '');
  let done = resumes ? from : 0;
  // Each chunk is written before the next is read, so that received bytes survive any failure.
  const handle = await open(partial, resumes ? 'a' : 'w');
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
  if (bytes !== undefined && done < bytes) throw new Error(`the response ended after ${done} of ${bytes} bytes`);
}
