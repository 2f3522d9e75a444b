import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { defaultsOf, isWhetstoneError } from '@whetstone/core/contract';
import { collect, temporaryFolder } from '../testing/files.js';
import { chat, sourceOf } from '../testing/sources.js';
import { applyTransforms } from '../transforms/apply.js';
import type { AnsweringModel } from './answer-cache.js';
import { createEndpoint, type EndpointOptions, type RequestObserver } from './chat-endpoint.js';
import { retryAfterSeconds, serverWords } from './endpoint-failure.js';
import { paraphraseSchema } from './options.js';
import { createParaphraseTransform } from './transforms.js';

/** A key and a certificate that it has signed itself, for the name "test"; made for this test alone. */
const SELF_SIGNED = {
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgmxZGGQl6vB+RCpCv
espbfj2YJCpbIdHS7aPvaI1bX4uhRANCAAQbgPvFDJLW6VUd4fCUsC7gseEGzJNS
tNveK4n4P13SYUbgGLGy0zGcttcx9UnUacOPE5kEeii69zr73sEsBTL3
-----END PRIVATE KEY-----`,
  cert: `-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUKFyuilvX9ofL8Xyuh7qdE/3W4scwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjEyMDExMjQ5NThaGA8yMTI2MTEwNzEyNDk1
OFowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABBuA
+8UMktbpVR3h8JSwLuCx4QbMk1K0294rifg/XdJhRuAYsbLTMZy21zH1SdRpw48T
mQR6KLr3OvvewSwFMvejUzBRMB0GA1UdDgQWBBSMfMibU6lWZgHoMW5YvgZ4KtRj
QzAfBgNVHSMEGDAWgBSMfMibU6lWZgHoMW5YvgZ4KtRjQzAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0gAMEUCIF3jA3Raqna8yl7haFkV6u0dCiPV35bxb0bM
vNzoHSj1AiEAptm01W6j43BXj9jTQCa2HdpRtgGkRSPMUV8cuB9/DbE=
-----END CERTIFICATE-----`,
};

const servers: Server[] = [];
const models: AnsweringModel[] = [];
afterEach(() => {
  for (const model of models.splice(0)) model.close();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
  delete process.env['WHETSTONE_TEST_KEY'];
});

async function listen(listener: RequestListener, tls = false): Promise<string> {
  const server = tls ? createTlsServer(SELF_SIGNED, listener) : createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http${tls ? 's' : ''}://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
}

async function promptOf(request: IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of request) body += String(chunk);
  return (JSON.parse(body) as { messages: { content: string }[] }).messages[0]?.content ?? '';
}

const send = (response: ServerResponse, content: string): void => {
  response.end(JSON.stringify({ choices: [{ message: { content } }] }));
};

const silent: RequestObserver = { answered: () => {}, waits: () => {} };

function open(endpoint: string, options: Partial<EndpointOptions> = {}, observer = silent): AnsweringModel {
  const defaults = { ...defaultsOf(paraphraseSchema), model: 'm', pauseSeconds: 0.01, cacheFolder: temporaryFolder() };
  const model = createEndpoint({ ...defaults, ...options, endpoint }, observer);
  models.push(model);
  return model;
}

/** Returns the error of a request: its message and hint. */
async function failureOf(endpoint: string, options: Partial<EndpointOptions> = {}): Promise<string> {
  const failed: unknown = await open(endpoint, { attempts: 1, ...options })
    .ask('a')
    .catch((error: unknown) => error);
  if (!isWhetstoneError(failed)) throw new Error(`expected an error with a code, found ${String(failed)}`);
  expect(failed.code).toBe('PLUGIN_FAILED');
  return `${failed.message}\n${failed.hint ?? ''}`;
}

const refuse =
  (status: number, body: string, headers: Record<string, string> = {}): RequestListener =>
  (_request, response) =>
    void response.writeHead(status, headers).end(body);

describe('a failed request says why:', () => {
  test('a connection that is refused', async () => {
    const endpoint = await listen(() => {});
    await new Promise((resolve) => servers.pop()?.close(resolve));
    expect(await failureOf(endpoint)).toMatch(/the connection to 127\.0\.0\.1:\d+ was refused \(ECONNREFUSED\)\nStart/);
  });

  test('a certificate that is not trusted, without a second attempt', async () => {
    const endpoint = await listen(refuse(200, ''), true);
    const failure = await failureOf(endpoint, { attempts: 5 });
    expect(failure).toMatch(/after 1 attempt: the certificate of 127\.0\.0\.1:\d+ is not trusted: .*self.signed/);
    expect(failure).toContain('NODE_EXTRA_CA_CERTS');
  });

  test('a host without an address', async () => {
    // A label of more than 63 characters is refused without a question to a name server.
    expect(await failureOf(`http://${'x'.repeat(64)}.example/v1`)).toMatch(
      /the address of the host x+\.example cannot be found \(DNS: E\w+\)\nCorrect the host/,
    );
  });

  test('a server that does not answer in time', async () => {
    const endpoint = await listen(() => {});
    expect(await failureOf(endpoint, { timeoutSeconds: 0.05 })).toMatch(
      /there was no answer within 0\.05 s\nRaise "timeoutSeconds"/,
    );
  });

  test('a server that closes the connection', async () => {
    const endpoint = await listen((request) => request.socket.destroy());
    expect(await failureOf(endpoint)).toMatch(/127\.0\.0\.1:\d+ closed the connection/);
  });

  test('TLS to a server without it', async () => {
    const endpoint = await listen(refuse(200, ''));
    expect(await failureOf(endpoint.replace('http:', 'https:'))).toMatch(/does not speak TLS: .*\nTry "http:\/\/"/);
  });

  test('an environment variable that is not set, before anything is sent', async () => {
    let requests = 0;
    const endpoint = await listen((_, response) => (requests++, send(response, 'x')));
    expect(await failureOf(endpoint, { apiKeyVariable: 'WHETSTONE_TEST_KEY' })).toContain(
      'the environment variable WHETSTONE_TEST_KEY is not set',
    );
    expect(requests).toBe(0);
  });

  test.each([
    [401, '{"error": {"message": "Incorrect API key provided.", "type": "x"}}', 'Incorrect API key provided.'],
    [403, '{"error": "Forbidden for this team"}', 'Forbidden for this team'],
    [404, '{"message": "The model m does not exist"}', 'The model m does not exist'],
    [422, '{"detail": [{"loc": ["body"], "msg": "field required"}]}', 'field required'],
    [400, 'Client sent an HTTP request to an HTTPS server.', 'Client sent an HTTP request to an HTTPS server.'],
    [502, '<html><head><title>502 Bad Gateway nginx</title></head><body>x</body></html>', '502 Bad Gateway nginx'],
    [400, '{"error": {"message": "模型不存在"}}', '模型不存在'],
  ])('the words of the server with status %i: %s', async (status, body, words) => {
    const failure = await failureOf(await listen(refuse(status, body)));
    expect(failure).toContain(`failed after 1 attempt: ${status} `);
    expect(failure).toContain(`: "${words}"\n`);
  });

  test('words of the server are bounded, on one line, with visible control characters and no credentials', async () => {
    process.env['WHETSTONE_TEST_KEY'] = 'abc123def';
    const message = `Wrong key abc123def\n\u001b[31mBearer abc123def\u0007 sk-abcdefghijkl ${'x '.repeat(10_000)}`;
    const endpoint = await listen(refuse(401, JSON.stringify({ error: { message } })));
    const failure = await failureOf(endpoint, { apiKeyVariable: 'WHETSTONE_TEST_KEY' });
    expect(failure).toContain('"Wrong key [hidden] ␛[31mBearer [hidden]␇ [hidden] x x');
    expect(failure).not.toMatch(/abc123|sk-abc/);
    expect(failure.length).toBeLessThan(800);
    expect(failure).toContain('Check the key in the environment variable WHETSTONE_TEST_KEY.');
    expect(serverWords('password is p@ss', ['p@ss'])).toBe('password is [hidden]');
  });
});

describe('several requests', () => {
  /** Answers each prompt with itself, in capital letters, the later ones first. */
  async function serveInReverse(
    places: number,
  ): Promise<{ endpoint: string; most: () => number; total: () => number }> {
    let most = 0;
    let total = 0;
    const open: (() => void)[] = [];
    const endpoint = await listen((request, response) => {
      void promptOf(request).then((prompt) => {
        total++;
        open.push(() => send(response, prompt.toUpperCase()));
        most = Math.max(most, open.length);
        // Answers come when as many requests are open as may be, so that fewer would wait without end.
        if (open.length === places) for (const answer of open.splice(0).reverse()) answer();
      });
    });
    return { endpoint, most: () => most, total: () => total };
  }

  test('are sent at once, up to the limit, and the answers keep their order', async () => {
    const { endpoint, most, total } = await serveInReverse(4);
    const { ask } = open(endpoint, { concurrency: 4 });
    const prompts = Array.from({ length: 12 }, (_, index) => `p${index}`);
    expect(await Promise.all(prompts.map(ask))).toEqual(prompts.map((prompt) => prompt.toUpperCase()));
    expect(most()).toBe(4);
    expect(total()).toBe(12);
  });

  test('with the same prompt are one request', async () => {
    const { endpoint, total } = await serveInReverse(1);
    const { ask } = open(endpoint);
    expect(await Promise.all([ask('a'), ask('a'), ask('a')])).toEqual(['A', 'A', 'A']);
    expect(total()).toBe(1);
  });

  test('all wait when the server asks one of them to wait', async () => {
    let busy = true;
    const at: number[] = [];
    const endpoint = await listen((_, response) => {
      at.push(performance.now());
      if (busy) response.writeHead(429, { 'retry-after': '1' }).end();
      else send(response, 'x');
      busy = false;
    });
    const waits: [number, string][] = [];
    const { ask } = open(endpoint, { concurrency: 1 }, { answered: () => {}, waits: (...wait) => waits.push(wait) });
    await Promise.all(['a', 'b'].map(ask));
    expect(waits).toEqual([[1, '429 Too Many Requests']]);
    expect(at).toHaveLength(3);
    // A lower bound holds on a busy machine, too; timers may fire slightly early.
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThan(980);
  });

  test('end if the server asks for a longer wait than allowed', async () => {
    const endpoint = await listen(refuse(429, '{"error": {"message": "Quota used up"}}', { 'retry-after': '3600' }));
    expect(await failureOf(endpoint, { attempts: 5, maxWaitSeconds: 60 })).toMatch(
      /asks to wait 3600 s: 429 Too Many Requests: "Quota used up"\nRun again later, or raise "maxWaitSeconds"/,
    );
  });

  test.each([
    ['120', 120],
    [' 0 ', 0],
    ['1.5', 1.5],
    // RFC 9110: a date, here 90 s after the present time.
    ['Fri, 31 Dec 1999 23:59:59 GMT', 90],
    ['Fri, 31 Dec 1999 23:00:00 GMT', 0],
    ['soon', null],
    ['', null],
    [null, null],
  ])('wait for Retry-After: %s', (header, seconds) => {
    expect(retryAfterSeconds(header, Date.UTC(1999, 11, 31, 23, 58, 29))).toBe(seconds);
  });

  test('paraphrase conversations at once, in their order, with progress; the next run asks for the rest', async () => {
    const questions = Array.from({ length: 9 }, (_, index) => `Where is my parcel number ${index} today?`);
    const asked: string[] = [];
    let failing: string | null = '7';
    const endpoint = await listen((request, response) => {
      void promptOf(request).then((prompt) => {
        const number = /number (\d)/.exec(prompt)?.[1] ?? '';
        asked.push(number);
        if (number === failing) return response.writeHead(400).end();
        // Later questions are answered earlier.
        setTimeout(
          () => send(response, `Sure! Today, where is my parcel number ${number}?`),
          20 * (9 - Number(number)),
        );
      });
    });
    const lines: string[] = [];
    const cacheFolder = temporaryFolder();
    const transform = () =>
      createParaphraseTransform(
        { endpoint, model: 'm', cacheFolder, concurrency: 3 },
        { logger: { info: (line: string) => lines.push(line) } as never },
      );
    const pass = () =>
      collect(applyTransforms(sourceOf(questions.map((each) => chat(each, 'Soon.'))), [transform()]).conversations());
    await expect(pass()).rejects.toMatchObject({ code: 'PLUGIN_FAILED' });
    const first = asked.splice(0).filter((number) => number !== '7');
    failing = null;
    const texts = (await pass()).map(({ messages }) => messages[0]?.content);
    expect(texts).toEqual(
      questions.flatMap((question, index) => [question, `Today, where is my parcel number ${index}?`]),
    );
    // What was answered before the failure is not asked again, except for what was open when it failed.
    expect(asked.length).toBeLessThanOrEqual(9 - first.length + 2);
    expect(lines.at(-1)).toMatch(
      /^augment-paraphrase: 9 of 9 conversations, \d answers? of the model \([\d.]+ a second\)$/,
    );
    expect(await pass()).toHaveLength(18);
  });
});
