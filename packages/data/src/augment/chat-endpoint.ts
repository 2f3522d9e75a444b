import { setTimeout as sleep } from 'node:timers/promises';
import { WhetstoneError } from '@whetstone/core/contract';
import { answerFrom, type Ask } from './answer-cache.js';

export interface EndpointOptions {
  /** The base of an OpenAI-compatible interface, as `http://localhost:8080/v1`. */
  readonly endpoint: string;
  readonly model: string;
  /**
   * The environment variable that holds the key, where one is needed. The key itself never stands in a configuration.
   */
  readonly apiKeyVariable: string | null;
  readonly temperature: number;
  /** Attempts at a request before it is given up. */
  readonly attempts: number;
  readonly timeoutSeconds: number;
  /**
   * The pause after the first attempt, doubled after each; what a server asks for with `Retry-After` comes before it.
   */
  readonly pauseSeconds: number;
  /** A folder in which answers are kept, so that the same request is never made twice. */
  readonly cacheFolder: string;
}

/** Longest pause between two attempts. */
const LONGEST_PAUSE = 30;

class Refused extends Error {
  override readonly name = 'Refused';
  constructor(
    message: string,
    readonly again: boolean,
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
  const response = await fetch(`${endpoint.replace(/\/+$/, '')}/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(key === undefined ? {} : { authorization: `Bearer ${key}` }) },
    body: JSON.stringify({ model, temperature, messages: [{ role: 'user', content: prompt }] }),
    signal: AbortSignal.timeout(timeoutSeconds * 1000),
  });
  if (!response.ok) {
    await response.body?.cancel();
    const wait = Number(response.headers.get('retry-after') ?? Number.NaN);
    throw new Refused(
      `${response.status} ${response.statusText}`.trim(),
      response.status === 408 || response.status === 429 || response.status >= 500,
      Number.isFinite(wait) ? wait : null,
    );
  }
  return contentOf(await response.text());
}

/** The text of an answer. What is no answer at all may come of a server that is just starting: it is asked again. */
function contentOf(body: string): string {
  let answer: { choices?: readonly { message?: { content?: unknown } }[] } | null;
  try {
    answer = JSON.parse(body) as typeof answer;
  } catch {
    throw new Refused(`the answer is not JSON: ${JSON.stringify(body.slice(0, 40))}`, true);
  }
  const content = answer?.choices?.[0]?.message?.content;
  if (typeof content !== 'string') throw new Refused('the answer holds no text', true);
  return content.trim();
}

/**
 * Makes a function that asks a model behind an OpenAI-compatible interface: cached, tried again with growing pauses
 * where that may help.
 */
export function createAsk(options: EndpointOptions): Ask {
  const { endpoint, model, temperature, attempts, pauseSeconds, cacheFolder } = options;
  const ask = async (prompt: string): Promise<string> => {
    for (let attempt = 1; ; attempt++) {
      try {
        return await request(prompt, options);
      } catch (cause) {
        const again = cause instanceof Refused ? cause.again : cause instanceof Error;
        if (!again || attempt >= attempts) {
          throw new WhetstoneError(
            'PLUGIN_FAILED',
            `The model at ${endpoint} gives no answer${attempt > 1 ? `, asked ${attempt} times` : ''}: ` +
              `${(cause as Error).message}`,
            {
              hint:
                'Look at "endpoint", "model" and "apiKeyVariable"; answers so far are kept, so that the next run ' +
                'goes on from here.',
              cause,
            },
          );
        }
        const wait =
          cause instanceof Refused && cause.waitSeconds !== null
            ? cause.waitSeconds
            : pauseSeconds * 2 ** (attempt - 1);
        await sleep(Math.min(LONGEST_PAUSE, wait) * 1000);
      }
    }
  };
  return (prompt) => answerFrom(cacheFolder, [endpoint, model, temperature, prompt], () => ask(prompt));
}
