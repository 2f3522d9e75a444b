import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { WhetstoneError } from '@whetstone/core/contract';

export interface EndpointOptions {
  /** The base of an OpenAI-compatible interface, as `http://localhost:8080/v1`. */
  readonly endpoint: string;
  readonly model: string;
  /** The environment variable that holds the key, where one is needed. The key itself never stands in a configuration. */
  readonly apiKeyVariable: string | null;
  readonly temperature: number;
  /** Attempts at a request before it is given up. */
  readonly attempts: number;
  readonly timeoutSeconds: number;
  /** A folder in which answers are kept, so that the same request is never made twice. */
  readonly cacheFolder: string;
}

/** Asks a model and gives its answer, from the cache where it was asked before. */
export type Ask = (prompt: string) => Promise<string>;

class Refused extends Error {
  override readonly name = 'Refused';
  constructor(
    message: string,
    readonly again: boolean,
  ) {
    super(message);
  }
}

async function request(prompt: string, { endpoint, model, apiKeyVariable, temperature, timeoutSeconds }: EndpointOptions): Promise<string> {
  const key = apiKeyVariable === null ? undefined : process.env[apiKeyVariable];
  const response = await fetch(`${endpoint.replace(/\/+$/, '')}/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(key === undefined ? {} : { authorization: `Bearer ${key}` }) },
    body: JSON.stringify({ model, temperature, messages: [{ role: 'user', content: prompt }] }),
    signal: AbortSignal.timeout(timeoutSeconds * 1000),
  });
  if (!response.ok) throw new Refused(`${response.status} ${response.statusText}`, response.status === 429 || response.status >= 500);
  const body = (await response.json()) as { choices?: readonly { message?: { content?: unknown } }[] };
  const content = body.choices?.[0]?.message?.content;
  if (typeof content !== 'string') throw new Refused('the answer holds no text', false);
  return content.trim();
}

/** Makes a function that asks a model behind an OpenAI-compatible interface: cached, tried again with growing pauses where that may help. */
export function createAsk(options: EndpointOptions): Ask {
  const { endpoint, model, temperature, attempts, cacheFolder } = options;
  return async (prompt) => {
    const key = createHash('sha256').update(JSON.stringify([endpoint, model, temperature, prompt])).digest('hex');
    const file = path.join(cacheFolder, `${key}.txt`);
    const known = await readFile(file, 'utf8').catch(() => null);
    if (known !== null) return known;
    for (let attempt = 1; ; attempt++) {
      try {
        const answer = await request(prompt, options);
        await mkdir(cacheFolder, { recursive: true });
        await writeFile(`${file}.${process.pid}.partial`, answer);
        await rename(`${file}.${process.pid}.partial`, file);
        return answer;
      } catch (cause) {
        const again = cause instanceof Refused ? cause.again : cause instanceof Error;
        if (!again || attempt >= attempts) {
          throw new WhetstoneError('PLUGIN_FAILED', `The model at ${endpoint} gives no answer: ${(cause as Error).message}`, {
            hint: 'Look at "endpoint", "model" and "apiKeyVariable"; answers so far are kept, so that the next run goes on from here.',
            cause,
          });
        }
        await sleep(Math.min(30_000, 250 * 2 ** attempt));
      }
    }
  };
}
