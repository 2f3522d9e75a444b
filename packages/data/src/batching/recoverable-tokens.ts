import { TokensLost, type TokenStore } from './token-store.js';

/** Tokens that are computed again if the file that holds them can no longer be read. */
export interface RecoverableTokens {
  /** The number of samples, and what is known of each without reading its tokens. */
  readonly index: Pick<TokenStore, 'samples' | 'lengthOf' | 'targetsOf'>;
  /** Whether some tokens are in a file, so that they may have to be recovered. */
  readonly isInFile: boolean;
  /** Runs work that reads the tokens; once more if they were lost meanwhile. */
  read<T>(work: (store: TokenStore) => T | Promise<T>): Promise<T>;
  /** Runs work that reads tokens in memory. @throws `TokensLost` if they are in a file that cannot be read */
  readNow<T>(work: (store: TokenStore) => T): T;
}

/**
 * Wraps a store.
 *
 * @param rebuild computes the same tokens again, into memory, for a reason. It is called at most once
 */
export function createRecoverableTokens(
  first: TokenStore,
  rebuild: (reason: string) => Promise<TokenStore>,
): RecoverableTokens {
  let store = first;
  let rebuilt: Promise<TokenStore> | null = null;
  return {
    index: first,
    get isInFile() {
      return store.isInFile;
    },
    async read(work) {
      try {
        return await work(store);
      } catch (error) {
        if (!(error instanceof TokensLost)) throw error;
        store = await (rebuilt ??= rebuild(error.message));
        return work(store);
      }
    },
    readNow: (work) => work(store),
  };
}
