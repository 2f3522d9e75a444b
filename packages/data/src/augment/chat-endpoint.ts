import { setTimeout as sleep } from 'node:timers/promises';
import { WhetstoneError } from '@whetstone/core/contract';
import { formatBytes, publicUrl } from '@whetstone/core/util';
import { answerFrom, type Ask } from './answer-cache.js';
import type { ParaphraseOptions } from './options.js';

/** The options of `augment-paraphrase` that concern the endpoint. */
export interface EndpointOptions extends Pick<
  ParaphraseOptions,
  'model' | 'apiKeyVariable' | 'temperature' | 'attempts' | 'timeoutSeconds' | 'pauseSeconds' | 'cacheFolder'
> {
  /** The base URL of an OpenAI-compatible API, for example `http://localhost:8080/v1`. */
  readonly endpoint: string;
}

/** Longest pause between two attempts, in seconds. */
const LONGEST_PAUSE = 30;
/** Longest response in bytes. */
const MAX_RESPONSE_BYTES = 16 * 1024 * 1024;

class RequestFailed extends Error {
  override readonly name = 'RequestFailed';
  constructor(
    message: string,
    readonly canRetry: boolean,
    readonly waitSeconds: number | null = null,
  ) {
    super(message);
  }
}

async function request(
  prompt: string,
  { endpoint, model, apiKeyVariable, temperature, timeoutSeconds }: EndpointOptions,
): Promise<string> {
  const key = apiKeyVariable === null ? undefined : process.env[apiKeyVariable];
  const { url, authorization } = addressOf(endpoint, key);
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(authorization === null ? {} : { authorization }) },
    body: JSON.stringify({ model, temperature, messages: [{ role: 'user', content: prompt }] }),
    // A redirect would take the conversation to an address that the configuration does not name.
    redirect: 'manual',
    signal: AbortSignal.timeout(timeoutSeconds * 1000),
  });
  if (response.status >= 300 && response.status < 400) {
    await response.body?.cancel();
    const target = publicUrl(new URL(response.headers.get('location') ?? '', url).href);
    throw new RequestFailed(`it redirects to ${target}, which is not followed; set "endpoint" to this address`, false);
  }
  if (!response.ok) {
    await response.body?.cancel();
    const wait = Number(response.headers.get('retry-after') ?? Number.NaN);
    throw new RequestFailed(
      `${response.status} ${response.statusText}`.trim(),
      response.status === 408 || response.status === 429 || response.status >= 500,
      Number.isFinite(wait) ? wait : null,
    );
  }
  return contentOf(await textOf(response));
}

/** Returns the address of the completions. A user name and password in the URL become a header, as in browsers. */
function addressOf(
  endpoint: string,
  key: string | undefined,
): { readonly url: URL; readonly authorization: string | null } {
  let url: URL;
  try {
    url = new URL(endpoint);
  } catch {
    throw new RequestFailed('the endpoint is not a URL', false);
  }
  url.pathname = `${withoutSlashes(url.pathname)}/chat/completions`;
  const { username, password } = url;
  url.username = '';
  url.password = '';
  const basic = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64');
  if (key !== undefined) return { url, authorization: `Bearer ${key}` };
  return { url, authorization: username === '' && password === '' ? null : `Basic ${basic}` };
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
      throw new RequestFailed(`the response is longer than ${formatBytes(MAX_RESPONSE_BYTES)}`, false);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Returns the text of a response. Invalid responses are retried, as a starting server may send them. */
function contentOf(body: string): string {
  let answer: { choices?: readonly { message?: { content?: unknown } }[] } | null;
  try {
    answer = JSON.parse(body) as typeof answer;
  } catch {
    throw new RequestFailed(`the response is not JSON: ${JSON.stringify(body.slice(0, 40))}`, true);
  }
  const content = answer?.choices?.[0]?.message?.content;
  if (typeof content !== 'string') throw new RequestFailed('the response has no text', true);
  return content.trim();
}

/**
 * Creates a function that asks a model through an OpenAI-compatible API. Answers are cached; failed requests are
 * retried with increasing pauses if a retry can succeed.
 *
 * @throws `PLUGIN_FAILED` from the returned function, if a request fails after all attempts
 */
export function createAsk(options: EndpointOptions): Ask {
  const { endpoint, model, temperature, attempts, pauseSeconds, cacheFolder } = options;
  const ask = async (prompt: string): Promise<string> => {
    for (let attempt = 1; ; attempt++) {
      try {
        return await request(prompt, options);
      } catch (cause) {
        const canRetry = cause instanceof RequestFailed ? cause.canRetry : cause instanceof Error;
        if (!canRetry || attempt >= attempts) {
          throw new WhetstoneError(
            'PLUGIN_FAILED',
            `The request to the model at ${publicUrl(endpoint)} failed after ${attempt} ` +
              `attempt${attempt === 1 ? '' : 's'}: ${(cause as Error).message}`,
            {
              hint:
                'Check "endpoint", "model" and "apiKeyVariable". Earlier answers are cached, so the next run ' +
                'continues with this request.',
              cause,
            },
          );
        }
        const wait =
          cause instanceof RequestFailed && cause.waitSeconds !== null
            ? cause.waitSeconds
            : pauseSeconds * 2 ** (attempt - 1);
        await sleep(Math.min(LONGEST_PAUSE, wait) * 1000);
      }
    }
  };
  return (prompt) => answerFrom(cacheFolder, [endpoint, model, temperature, prompt], () => ask(prompt));
}
