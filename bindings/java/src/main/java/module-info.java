/** Messages between two processes of one machine through shared memory. */
module tachyon {
    exports tachyon;
}
