"""What greenlets need whatever they do: restarts, pauses, turns of the loop, threads. Knows nothing of the rest of the
package."""
