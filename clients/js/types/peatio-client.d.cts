export * from "./peatio-client.mjs";
