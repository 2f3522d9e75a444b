import { setTimeout as sleep } from 'node:timers/promises';
import { WhetstoneError } from '@whetstone/core/contract';
import { formatBytes, publicUrl, visibleText } from '@whetstone/core/util';
import { answerFrom, type AnsweringModel } from './answer-cache.js';
import { networkFailure, redirectFailure, RequestFailed, statusFailure } from './endpoint-failure.js';
import type { ParaphraseOptions } from './options.js';
import { createRequestQueue, type RequestQueue } from './request-queue.js';

/** The options of `augment-paraphrase` that concern the endpoint. */
export interface EndpointOptions extends Pick<
  ParaphraseOptions,
  | 'model'
  | 'apiKeyVariable'
  | 'temperature'
  | 'attempts'
  | 'timeoutSeconds'
  | 'pauseSeconds'
  | 'maxWaitSeconds'
  | 'concurrency'
  | 'cacheFolder'
> {
  /** The base URL of an OpenAI-compatible API, for example `http://localhost:8080/v1`. */
  readonly endpoint: string;
}

/** Longest pause between two attempts in seconds, if the server names none. */
const LONGEST_PAUSE = 30;
/** Longest response in bytes. */
const MAX_RESPONSE_BYTES = 16 * 1024 * 1024;
/** As much of a response with an error status is read, in bytes. */
const MAX_ERROR_BYTES = 64 * 1024;

async function request(prompt: string, options: EndpointOptions, stopped: AbortSignal): Promise<string> {
  const { endpoint, model, apiKeyVariable, temperature, timeoutSeconds } = options;
  const { url, authorization, secrets } = addressOf(endpoint, apiKeyVariable);
  const signal = AbortSignal.any([stopped, AbortSignal.timeout(timeoutSeconds * 1000)]);
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(authorization === null ? {} : { authorization }) },
      body: JSON.stringify({ model, temperature, messages: [{ role: 'user', content: prompt }] }),
      redirect: 'manual',
      signal,
    });
    if (response.status >= 300 && response.status < 400) {
      await response.body?.cancel();
      throw redirectFailure(response.headers.get('location'), url);
    }
    if (!response.ok) throw statusFailure(response, await beginningOf(response), { secrets, apiKeyVariable });
    return contentOf(await textOf(response));
  } catch (cause) {
    throw networkFailure(cause, url, timeoutSeconds);
  }
}

/**
 * Returns the address of the completions. A user name and password in the URL become a header, as in browsers.
 *
 * @throws `RequestFailed` if the endpoint is not a URL, or the variable of the key is not set
 */
function addressOf(
  endpoint: string,
  apiKeyVariable: string | null,
): { readonly url: URL; readonly authorization: string | null; readonly secrets: readonly string[] } {
  let url: URL;
  try {
    url = new URL(endpoint);
  } catch {
    throw new RequestFailed('the endpoint is not a URL');
  }
  url.pathname = `${withoutSlashes(url.pathname)}/chat/completions`;
  const { username, password } = url;
  url.username = '';
  url.password = '';
  if (apiKeyVariable !== null) {
    const key = process.env[apiKeyVariable];
    if (key === undefined || key === '')
      throw new RequestFailed(`the environment variable ${apiKeyVariable} is not set`, {
        hint: 'Set it to the key of the API, or set "apiKeyVariable" to null if the server needs none.',
      });
    return { url, authorization: `Bearer ${key}`, secrets: [key] };
  }
  if (username === '' && password === '') return { url, authorization: null, secrets: [] };
  const [name, word] = [decodeURIComponent(username), decodeURIComponent(password)];
  const basic = Buffer.from(`${name}:${word}`).toString('base64');
  return { url, authorization: `Basic ${basic}`, secrets: [basic, word, password] };
}

function withoutSlashes(path: string): string {
  let end = path.length;
  while (end > 0 && path[end - 1] === '/') end--;
  return path.slice(0, end);
}

/** Reads a response. @throws `RequestFailed` if it is longer than {@link MAX_RESPONSE_BYTES} */
async function textOf(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    // Leaving the loop cancels the response.
    if (bytes > MAX_RESPONSE_BYTES)
      throw new RequestFailed(`the response is longer than ${formatBytes(MAX_RESPONSE_BYTES)}`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Reads the beginning of a response with an error status. A body that breaks off is as good as its beginning. */
async function beginningOf(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes >= MAX_ERROR_BYTES) break;
    }
  } catch {
    // The status says what is wrong.
  }
  return Buffer.concat(chunks).subarray(0, MAX_ERROR_BYTES).toString('utf8');
}

/** Returns the text of a response. Invalid responses are retried, as a starting server may send them. */
function contentOf(body: string): string {
  let answer: { choices?: readonly { message?: { content?: unknown } }[] } | null;
  try {
    answer = JSON.parse(body) as typeof answer;
  } catch {
    const beginning = JSON.stringify(visibleText(body.slice(0, 40)));
    throw new RequestFailed(`the response is not JSON: ${beginning}`, { canRetry: true });
  }
  const content = answer?.choices?.[0]?.message?.content;
  if (typeof content !== 'string') throw new RequestFailed('the response has no text', { canRetry: true });
  return content.trim();
}

/** What happens to requests, for the progress of a pass. */
export interface RequestObserver {
  answered(): void;
  /** A request is sent again after so many seconds. */
  waits(seconds: number, reason: string): void;
}

/** Sends a request until it succeeds, with increasing pauses if a retry can succeed. */
async function answerOf(
  prompt: string,
  options: EndpointOptions,
  queue: RequestQueue,
  observer: RequestObserver,
): Promise<string> {
  const { attempts, pauseSeconds, maxWaitSeconds } = options;
  for (let attempt = 1; ; attempt++) {
    await queue.ready();
    try {
      const answer = await request(prompt, options, queue.signal);
      observer.answered();
      return answer;
    } catch (cause) {
      // What was stopped did not fail.
      queue.signal.throwIfAborted();
      const failure = cause as RequestFailed;
      const asked = failure.waitSeconds;
      if (!failure.canRetry || attempt >= attempts) throw requestFailed(failure, attempt, options);
      if (asked !== null && asked > maxWaitSeconds) throw waitsTooLong(failure, asked, options);
      const wait = asked ?? Math.min(LONGEST_PAUSE, pauseSeconds * 2 ** (attempt - 1));
      observer.waits(wait, failure.message);
      // A server that is busy is busy for all requests.
      if (asked !== null) queue.pause(asked);
      else await sleep(wait * 1000, undefined, { signal: queue.signal });
    }
  }
}

const CACHED = 'Earlier answers are cached, so the next run continues with this request.';

function requestFailed(failure: RequestFailed, attempts: number, { endpoint }: EndpointOptions): WhetstoneError {
  return new WhetstoneError(
    'PLUGIN_FAILED',
    `The request to the model at ${publicUrl(endpoint)} failed after ${attempts} ` +
      `attempt${attempts === 1 ? '' : 's'}: ${failure.message}`,
    { hint: `${failure.hint ?? 'Check "endpoint", "model" and "apiKeyVariable".'} ${CACHED}`, cause: failure },
  );
}

function waitsTooLong(
  failure: RequestFailed,
  seconds: number,
  { endpoint, maxWaitSeconds }: EndpointOptions,
): WhetstoneError {
  return new WhetstoneError(
    'PLUGIN_FAILED',
    `The model at ${publicUrl(endpoint)} asks to wait ${Math.ceil(seconds)} s: ${failure.message}`,
    {
      expected: `at most ${maxWaitSeconds} s (maxWaitSeconds)`,
      found: `${Math.ceil(seconds)} s`,
      hint: `Run again later, or raise "maxWaitSeconds". ${CACHED}`,
      cause: failure,
    },
  );
}

/**
 * Creates a model behind an OpenAI-compatible API. At most `concurrency` requests are sent at once. Answers are cached;
 * failed requests are retried if a retry can succeed, after the time that the server asks for (`Retry-After`).
 *
 * @throws `PLUGIN_FAILED` from `ask`, if a request fails after all attempts, or the server asks for a longer wait than
 *   `maxWaitSeconds`
 */
export function createEndpoint(options: EndpointOptions, observer: RequestObserver): AnsweringModel {
  const { endpoint, model, temperature, cacheFolder, concurrency } = options;
  let queue: RequestQueue | null = null;
  return {
    ask: (prompt) =>
      answerFrom(cacheFolder, [endpoint, model, temperature, prompt], () => {
        const current = (queue ??= createRequestQueue(concurrency));
        return current.run(() => answerOf(prompt, options, current, observer));
      }),
    close() {
      queue?.stop();
      queue = null;
    },
  };
}
