import { publicUrl, visibleText, withoutCredentials } from '@whetstone/core/util';

/** A request that failed, with what the user can do about it. */
export class RequestFailed extends Error {
  override readonly name = 'RequestFailed';
  /** Whether the same request can succeed later. */
  readonly canRetry: boolean;
  /** The seconds that the server asks to wait; null if it does not say. */
  readonly waitSeconds: number | null;
  readonly hint: string | null;

  constructor(
    message: string,
    {
      canRetry = false,
      waitSeconds = null,
      hint = null,
      cause,
    }: { canRetry?: boolean; waitSeconds?: number | null; hint?: string | null; cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.canRetry = canRetry;
    this.waitSeconds = waitSeconds;
    this.hint = hint;
  }
}

/** Longest quotation of a server, in characters. */
const MAX_WORDS = 300;

/** Returns the first text at the places where servers put the reason of a failure. */
function reasonIn(body: unknown): string | null {
  if (typeof body === 'string') return body;
  if (Array.isArray(body)) return reasonIn(body[0]);
  if (typeof body !== 'object' || body === null) return null;
  const { error, message, msg, detail, error_description: description } = body as Readonly<Record<string, unknown>>;
  return reasonIn(message ?? description ?? error ?? detail ?? msg ?? null);
}

function plainReason(body: string): string {
  try {
    return reasonIn(JSON.parse(body) as unknown) ?? body;
  } catch {
    // Proxies answer with a page in HTML: its title says what is wrong.
    return /<title>([^<]{1,1000})/i.exec(body)?.[1] ?? body.replace(/<[^<>]{0,1000}>/g, ' ');
  }
}

/** Returns a text of others on one line, with control characters as symbols and without credentials. */
const onOneLine = (text: string): string => visibleText(withoutCredentials(text).replace(/\s+/g, ' ').trim());

/**
 * Returns what a server says about a failure, for a message: on one line, at most 300 characters, with control
 * characters as symbols, and without credentials. Empty if it says nothing.
 *
 * @param secrets the key or password of the request, which some servers repeat
 */
export function serverWords(body: string, secrets: readonly string[]): string {
  let words = plainReason(body);
  for (const secret of secrets) if (secret !== '') words = words.replaceAll(secret, '[hidden]');
  words = onOneLine(words);
  return words.length > MAX_WORDS ? `${words.slice(0, MAX_WORDS)}…` : words;
}

const CERTIFICATE =
  /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|UNABLE_TO_GET_(?:ISSUER|CRL)|HOSTNAME_MISMATCH|INVALID_(?:CA|PURPOSE)|PATH_LENGTH/;
const TIMED_OUT = new Set(['ETIMEDOUT', 'UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT']);
const CLOSED = new Set(['ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET', 'ECONNABORTED']);
const UNREACHABLE = new Set(['EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ENETDOWN', 'EADDRNOTAVAIL']);

/** Returns the error that `fetch` wraps: the innermost cause, and the first one of several addresses. */
function innermost(error: unknown): Error & { readonly code?: string } {
  let inner = error instanceof Error ? error : new Error(String(error));
  for (let depth = 0; depth < 8; depth++) {
    const next: unknown = inner instanceof AggregateError ? inner.errors[0] : inner.cause;
    if (!(next instanceof Error)) break;
    inner = next;
  }
  return inner;
}

/** Describes why no response came. */
export function networkFailure(cause: unknown, url: URL, timeoutSeconds: number): RequestFailed {
  if (cause instanceof RequestFailed) return cause;
  const error = innermost(cause);
  const { code = '' } = error;
  const words = onOneLine(error.message);
  const { host, hostname, protocol } = url;
  if (error.name === 'TimeoutError' || TIMED_OUT.has(code))
    return new RequestFailed(`there was no answer within ${timeoutSeconds} s`, {
      canRetry: true,
      hint: 'Raise "timeoutSeconds", or lower "concurrency" if the server is busy.',
      cause,
    });
  if (code === 'ECONNREFUSED')
    return new RequestFailed(`the connection to ${host} was refused (${code})`, {
      canRetry: true,
      hint: 'Start the server, or correct the host and port of "endpoint".',
      cause,
    });
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN' || code === 'EAI_FAIL')
    return new RequestFailed(`the address of the host ${hostname} cannot be found (DNS: ${code})`, {
      canRetry: code !== 'ENOTFOUND',
      hint: 'Correct the host of "endpoint", or check the network.',
      cause,
    });
  if (CERTIFICATE.test(code))
    return new RequestFailed(`the certificate of ${host} is not trusted: ${words} (${code})`, {
      hint: 'Set NODE_EXTRA_CA_CERTS to the file of the certificate authority, or correct the host of "endpoint".',
      cause,
    });
  if (/^(?:EPROTO|ERR_SSL|HPE_)/.test(code))
    return new RequestFailed(`${host} does not speak ${protocol === 'https:' ? 'TLS' : 'HTTP'}: ${words}`, {
      hint: `Try "${protocol === 'https:' ? 'http' : 'https'}://" in "endpoint".`,
      cause,
    });
  const canRetry = CLOSED.has(code) || UNREACHABLE.has(code);
  if (CLOSED.has(code))
    return new RequestFailed(`${host} closed the connection (${code})`, {
      canRetry,
      hint: protocol === 'http:' ? 'Check the log of the server. If it expects TLS, write "https://".' : null,
      cause,
    });
  return new RequestFailed(`${words}${code === '' || words.includes(code) ? '' : ` (${code})`}`, { canRetry, cause });
}

const RETRIED_STATUS = new Set([408, 425, 429]);

/** Describes a response whose status is not a success. */
export function statusFailure(
  { status, statusText, headers }: Pick<Response, 'status' | 'statusText' | 'headers'>,
  body: string,
  { secrets, apiKeyVariable }: { readonly secrets: readonly string[]; readonly apiKeyVariable: string | null },
): RequestFailed {
  const words = serverWords(body, secrets);
  const title = `${status} ${serverWords(statusText, secrets)}`.trim();
  return new RequestFailed(words === '' || words === statusText ? title : `${title}: "${words}"`, {
    canRetry: RETRIED_STATUS.has(status) || status >= 500,
    waitSeconds: retryAfterSeconds(headers.get('retry-after'), Date.now()),
    hint: hintOf(status, apiKeyVariable),
  });
}

function hintOf(status: number, apiKeyVariable: string | null): string | null {
  if (status === 401 || status === 403)
    return apiKeyVariable === null
      ? 'Set "apiKeyVariable" to the name of the environment variable that holds the key.'
      : `Check the key in the environment variable ${apiKeyVariable}.`;
  if (status === 404) return 'Check "model" and the path of "endpoint", which often ends in /v1.';
  if (status === 429) return 'Lower "concurrency", or run again later: the next run continues with this request.';
  return null;
}

/** Describes a redirect, which would take the conversation to an address that the configuration does not name. */
export function redirectFailure(location: string | null, url: URL): RequestFailed {
  return new RequestFailed(`it redirects to ${targetOf(location, url)}, which is not followed`, {
    hint: 'Set "endpoint" to the address that answers.',
  });
}

function targetOf(location: string | null, url: URL): string {
  try {
    return visibleText(publicUrl(new URL(location ?? '', url).href));
  } catch {
    return 'an address that is not a URL';
  }
}

/**
 * Returns the seconds of a header `Retry-After`: a number, or a date (RFC 9110, section 10.2.3). Null without a valid
 * value.
 *
 * @param now milliseconds since 1970
 */
export function retryAfterSeconds(header: string | null, now: number): number | null {
  const value = header?.trim() ?? '';
  if (value === '') return null;
  if (/^\d{1,12}(?:\.\d{1,6})?$/.test(value)) return Number(value);
  const date = Date.parse(value);
  return Number.isNaN(date) ? null : Math.max(0, (date - now) / 1000);
}
