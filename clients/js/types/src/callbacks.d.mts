/** Names that are not streams. */
export declare const CALLBACKS: string[];
import type { BodyOf } from "../channels.mjs";
export type Arguments = import("../peatio-client.mjs").Callbacks;
export type CallbackOf<Name> = Name extends keyof Arguments ? Arguments[Name] : [BodyOf<Name>] extends [never] ? never : (event: import("../peatio-client.mjs").PeatioEvent<BodyOf<Name>>) => unknown;
/** @import { BodyOf } from "../channels.mjs" */
/** @typedef {import("../peatio-client.mjs").Callbacks} Arguments */
/**
 * The type of the callback for a name; `never` for a candle or a view that does not exist.
 *
 * @template Name
 * @typedef {Name extends keyof Arguments ? Arguments[Name] : [BodyOf<Name>] extends [never] ? never
 *   : (event: import("../peatio-client.mjs").PeatioEvent<BodyOf<Name>>) => unknown} CallbackOf
 */
/** Callbacks in the order in which they were registered. */
export declare class Callbacks {
    #private;
    /**
     * @param {string} name
     * @param {Function} callback
     * @param {{ once: boolean, signal?: AbortSignal }} options
     * @throws {TypeError} there is no such name
     */
    add(name: string, callback: Function, { once, signal }: {
        once: boolean;
        signal?: AbortSignal;
    }): void;
    /** Remove a callback, or all of a name. Idempotent. @param {string} name @param {Function} [callback] */
    remove(name: string, callback?: Function): void;
    /** @param {string} name */
    has(name: string): boolean;
    /** Call and await the callbacks. Remove a callback of `once` after it has settled. @param {string} name @param {unknown} what */
    call(name: string, what: unknown): Promise<void>;
}
/** Return the log line for a callback, without tokens and payloads; empty if it is not logged. @param {string} name @param {any} what */
export declare function lineOf(name: string, what: any): string;
/** Return the function that writes log lines. @param {boolean | ((message: string) => void) | undefined} debug */
export declare function logger(debug: boolean | ((message: string) => void) | undefined): (/** @type {string} */ message: string) => void;
