// SPDX-License-Identifier: MIT
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;

namespace Tachyon
{
    /// <summary>Looks at the elements of an array, which must not be kept, and at its shape.</summary>
    public delegate void ArrayReader<T>(ReadOnlySpan<T> elements, long[] shape);

    /// <summary>Messages that are arrays, with a header of their own: what Python's recv_array() reads.</summary>
    internal static unsafe class Arrays
    {
        /// <summary>NumPy's names of the types, on a little-endian machine.</summary>
        static readonly Dictionary<Type, string> names = new Dictionary<Type, string>
        {
            { typeof(sbyte), "|i1" }, { typeof(short), "<i2" }, { typeof(int), "<i4" }, { typeof(long), "<i8" },
            { typeof(byte), "|u1" }, { typeof(ushort), "<u2" }, { typeof(uint), "<u4" }, { typeof(ulong), "<u8" },
            { typeof(float), "<f4" }, { typeof(double), "<f8" },
        };

        internal static string Name(Type type)
        {
            string name;
            if (!names.TryGetValue(type, out name))
                throw new NotSupportedException($"an array of {type}: elements are integers of 8 to 64 bits, float or double");
            return name;
        }

        /// <summary>The description of an array, but for its dtype.</summary>
        internal static Native.Array Describe(long[] shape, int itemSize)
        {
            if (shape.Length > Native.Array.MaxRank)
                throw new MessageTooLargeException($"an array of {shape.Length} dimensions; {Native.Array.MaxRank} are the most");
            var array = new Native.Array { ItemSize = (ulong)itemSize, Rank = (uint)shape.Length };
            for (int i = 0; i < shape.Length; i++)
            {
                if (shape[i] < 0)
                    throw new ArgumentOutOfRangeException(nameof(shape), shape[i], "a negative extent");
                array.Shape[i] = (ulong)shape[i];
            }
            return array;
        }

        /// <summary>Looks at bytes that do not move as an array of T.</summary>
        internal static ReadOnlySpan<T> Parse<T>(byte* message, int size, out long[] shape) where T : struct
        {
            string wanted = Name(typeof(T));
            Native.Array array;
            Errors.Check(Native.tachyon_array_read(&array, message, (ulong)size), "read an array");
            string name = Encoding.ASCII.GetString(array.DType, (int)array.DTypeSize);
            if (name != wanted || array.ItemSize != (ulong)SizeOf<T>.Bytes)
                throw new MessageFormatException($"read an array: its elements are {name}, not {wanted}");
            shape = new long[array.Rank];
            for (int i = 0; i < shape.Length; i++)
                shape[i] = (long)array.Shape[i]; // the library has seen that they fit
            return new ReadOnlySpan<T>(array.Data, (int)(array.DataSize / array.ItemSize));
        }

        internal static T[] Read<T>(byte[] message, out long[] shape) where T : struct
        {
            Library.Load();
            return ReadLoaded<T>(message, out shape);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        static T[] ReadLoaded<T>(byte[] message, out long[] shape) where T : struct
        {
            fixed (byte* at = message)
                return Parse<T>(at, message.Length, out shape).ToArray();
        }
    }

    public sealed unsafe partial class Bus
    {
        /// <summary>
        /// Sends an array with its type and shape. elements are in C order (the last index runs
        /// fastest), as many as the shape says; T is a number of 8 to 64 bits.
        /// </summary>
        public void SendArray<T>(ReadOnlySpan<T> elements, long[] shape, uint typeId = 0, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken)) where T : struct
        {
            int count = elements.Length;
            fixed (byte* pinned = &MemoryMarshal.GetReference(MemoryMarshal.AsBytes(elements)))
            {
                byte* first = pinned;
                SendArrayInPlace<T>(shape, typeId, room =>
                {
                    if (count != room.Length)
                        throw new ArgumentException($"{count} elements for the shape {string.Join(" x ", shape)}", nameof(elements));
                    new ReadOnlySpan<T>(first, count).CopyTo(room);
                }, timeout, cancellation);
            }
        }

        /// <summary>
        /// Lets write compute the elements where they lie in the ring, and sends them. An exception of
        /// write sends nothing. It must not send on this bus.
        /// </summary>
        public void SendArrayInPlace<T>(long[] shape, uint typeId, SpanWriter<T> write, TimeSpan? timeout = null,
            CancellationToken cancellation = default(CancellationToken)) where T : struct
        {
            if (shape == null)
                throw new ArgumentNullException(nameof(shape));
            shape = (long[])shape.Clone(); // nobody else's
            int itemSize = SizeOf<T>.Checked();
            byte[] name = Native.Text(Arrays.Name(typeof(T)));
            ulong size;
            Native.Array array = Arrays.Describe(shape, itemSize);
            fixed (byte* text = name)
            {
                array.DType = text;
                size = Native.tachyon_array_size(&array);
            }
            if (size == 0 || size > int.MaxValue)
                throw new MessageTooLargeException($"an array of the shape {string.Join(" x ", shape)}");
            SendInPlace((int)size, typeId, room =>
            {
                Native.Array described = Arrays.Describe(shape, itemSize);
                byte* data;
                fixed (byte* message = &MemoryMarshal.GetReference(room), text = name)
                {
                    described.DType = text;
                    Errors.Check(Native.tachyon_array_write(&described, message, size, &data), "write an array");
                    write(new Span<T>(data, (int)((message + size - data) / itemSize)));
                }
                return (int)size;
            }, timeout, cancellation);
        }
    }
}
