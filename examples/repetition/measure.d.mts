/** Share of the n-grams of a reply that stood in it before. */
export declare function repetitionRate(tokens: readonly number[], n?: number): number;
